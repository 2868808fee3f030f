"""Texts on how to read the report and how its numbers are made, for the page and the markdown."""

from typing import Any, NamedTuple

from jaxreason.report.training_runs import questions_said
from jaxreason.report.wording import PAPER, ROBUST, WAYS, group_label, join_words
from jaxreason.results.groups import MATH, TRAINING
from jaxreason.results.significance import FLIPS, POWER


class Formula(NamedTuple):
    """A formula on a line of its own."""

    text: str


class TextSection(NamedTuple):
    """A heading and paragraphs, some of them formulas."""

    title: str
    parts: tuple[str | Formula, ...]


def reading(summary: dict[str, Any]) -> list[TextSection]:
    """Returns how to read the report, for readers who have not read the methods."""
    percent = f"{100 * summary['confidence']:g}\u2009%"
    return [
        TextSection(
            "How to read this",
            (
                "Scores are in points: 100 means that every question is right. A group's score is the mean of its "
                "tasks' scores, whatever their numbers of questions.",
                f"An interval (“a to b”) covers the middle {percent} of the resampled values. A change is called "
                "clear, and set in colour, when its interval excludes zero, its p-value agrees and every seed "
                "changed in the same direction. A change that is not clear may still exist.",
                "Differences from the base are paired: the same questions, so a question that "
                "is hard for all models adds nothing to the interval. That is why they are "
                "narrower than the intervals of two scores would suggest.",
            ),
        )
    ]


def methods(summary: dict[str, Any]) -> list[TextSection]:
    """Returns the formulas and choices behind the numbers."""
    return [
        _ways(summary),
        _intervals(summary),
        _significance(summary),
        _transfer(),
        _divergence(summary),
        _shift(),
        _other_drift(),
        *_states(summary),
        *_weights(summary),
        *_shifted(summary),
        *_over_training(summary),
        *_questions(summary),
    ]


def _weights(summary: dict) -> list[TextSection]:
    parts = (
        "Weights are compared as they are stored. The effective rank of an update is exp of the entropy of its "
        "singular values' shares of the energy (their squares), in per cent of the directions that the matrix has. "
        "The leading directions of a matrix are its first k singular vectors, k = 32 or a quarter of its smaller "
        "side. The update's are compared with the base's on the output (left) and the input (right) side:",
        Formula(
            "overlap = mean of cos² of the principal angles,   by chance k / (size of that side)"
        ),
        "The change of singular values is |σ_tuned − σ_base| / |σ_base|; rotation is the mean principal angle between "
        "the leading directions before and after. Means are over the matrices within layers. Large matrices are "
        "factorised by random projection.",
    )
    return [TextSection("Weights", parts)] if summary["weight_space"] else []


def _shifted(summary: dict) -> list[TextSection]:
    if summary["shifted"] is None:
        return []
    words = ", ".join(
        w
        for kind in summary["shifted"]["word_classes"].values()
        for ws in kind.values()
        for w in ws
    )
    return [
        TextSection(
            "Shifted tokens",
            (
                "At every token of the tuned models' replies both models' next-token distributions are compared. A "
                "token is shifted if their first choices differ and the Jensen–Shannon divergence is at least "
                f"{summary['shifted']['threshold']:g} nats (at most 0.69 is possible), so that a swap of two nearly "
                "equal choices is not counted. The promoted token is the tuned model's first choice there, and it "
                "replaces the base's. Shares are means over the tasks of a group; counts of single tokens are over "
                "all tasks.",
                f"Words of logical structure, in capital or small letters: {words}. Other tokens with a letter or a "
                "digit are content.",
            ),
        )
    ]


def _over_training(summary: dict) -> list[TextSection]:
    found = summary["over_training"]
    parts: tuple[str | Formula, ...] = ()
    if found["curves"]:
        parts += (
            "A step of a run is a checkpoint, evaluated and compared with the base like the final model. Its scores "
            "and changes have the same intervals as those; for KL, texts and seeds are resampled.",
        )
    if found["matched"]:
        parts += (
            "At equal math: a run's scores are joined by straight lines between its evaluated steps, and read where "
            "its math first reaches a score. An arm reaches a score when all of its seeds do. The compared scores "
            "are the highest that two arms reach, the highest that half of the arms with a gain reach, and the "
            "highest that all of these reach; arms whose ranges do not overlap are not compared. In each resample "
            "both the score and the places are found anew; KL is resampled at the places that all questions give.",
        )
    if found["forgetting"]:
        parts += (
            "Points lost outside math are the base's mean score over all groups but math, minus the tuned model's, "
            "so that gains offset losses. They are fitted to each measure of drift x (the mean over all groups "
            "unless a group is named), over all checkpoints and final models; the base, which all runs share, is not "
            "a point:",
            Formula("loss = a + b · x        loss = a + b · x + c · x²"),
            "R² on unseen runs: each run is predicted by a fit to the others, and this is compared with the mean of "
            "the others; below 0 that mean predicts better. Intervals resample whole runs. “First in” is the share "
            "of the resamples in which a measure has the highest R², among the measures that are known at every "
            "point.",
        )
    return [TextSection("Over training", parts)] if parts else []


def _questions(summary: dict) -> list[TextSection]:
    said = questions_said(summary)
    about = (
        "Before an arm is trained, its questions are compared with all questions of the benchmarks, and those that a "
        "benchmark asks too are left out. Two questions count as the same if they are equal up to typesetting, if "
        "they have a run of 13 words and most numbers in common, or if one is reworded with the same numbers and "
        "answer."
    )
    return [TextSection("Training questions", (about, *said))] if said else []


def _ways(summary: dict) -> TextSection:
    other = PAPER if summary["variant"] == ROBUST else ROBUST
    parts = (
        "The robust way of measuring a task does not depend on accidents of format: thoughts are left out, and "
        "answers are compared by their meaning. The paper's way is that of the study's released evaluation, mistakes "
        "included: its prompts, its stop strings, how it finds an answer and which answers it accepts.",
        f"All scores, differences and verdicts of this report are of tasks measured {WAYS[summary['variant']]}, "
        "unless a table says otherwise.",
    )
    if summary["variant_gaps"]:
        parts += (
            f"If a task was also measured {WAYS[other]}, both scores are given, with their difference. It is paired "
            "over questions, with all seeds of an arm together, and shows the effect of measuring the same models "
            "differently. If the two ways share their samples, the choice of questions is the only chance in it.",
        )
    return TextSection("Ways of measuring", parts)


def _intervals(summary: dict) -> TextSection:
    rest = [group_label(g["name"]).lower() for g in summary["groups"] if g["name"] != MATH]
    names = join_words(rest) if rest else "all groups but math"
    return TextSection(
        "Scores and intervals",
        (
            "A task's score is the mean over its subsets of (sum of scores) / (number of graded "
            "samples); samples that could not be graded are left out and counted. “The rest” is "
            f"the mean of {names}.",
            f"Bootstrap, {summary['resamples']:,} resamples, percentile intervals. Questions are resampled within "
            "subsets, the same ones for all models. Seeds are resampled too; since a resample of S seeds varies less "
            "than S new seeds would, its distance from the mean is stretched:",
            Formula("mean* = mean + √(S / (S − 1)) · (mean of resampled seeds − mean)"),
            "A score of one run has Wilson's interval where its samples are 0 or 1 (with an effective number of "
            "questions where several samples share one), as in the evaluation's scores.json; other scores, means "
            "over seeds and differences have a bootstrap interval. If all questions of a task have the same result, "
            "no resample can vary: such a task is drawn from the ends of Wilson's interval at random normal "
            "quantiles. If no question has different results for two models, the end of Wilson's interval of 0 such "
            "questions is added to their difference on both sides, in squares.",
        ),
    )


def _significance(summary: dict) -> TextSection:
    return TextSection(
        "p-values, false discovery rate, smallest difference",
        (
            "The p-value of a difference is the probability of a difference at least as large, in either direction, "
            "if the two models could be exchanged on every question: the sign of a question's contribution, all its "
            f"samples together, is flipped. If there are few flips, all of them are counted, otherwise {FLIPS:,} are "
            "drawn; with several seeds their resampled distances are added. For single answers that are right or "
            "wrong this is McNemar's exact test.",
            "The q-value (Benjamini and Hochberg 1995) takes the comparisons of one decoding "
            "together, all tasks and arms or all groups and arms: of the changes with a q-value up "
            "to q, at most that share is expected to be false.",
            f"The smallest difference is the one that would be found with a probability of {100 * POWER:g}\u2009%, on "
            "equally many questions whose answers vary as much as here:",
            Formula(
                f"(z of {100 * summary['confidence']:g} % + z of {100 * POWER:g} %) · standard error "
                "of the paired difference, clustered by question"
            ),
        ),
    )


def _transfer() -> TextSection:
    return TextSection(
        "Transferability index",
        (
            "For the tasks b of a group g, with D_b the change in points and base scores in "
            "points:",
            Formula("v1:  DI_g = mean over b of D_b / base_b"),
            Formula(
                "v2:  DI_g = Σ w_b · sign(D_b) · √(|D_b| / s_g),   w_b = (100 − base_b) / Σ "
                "(100 − base_b)"
            ),
            Formula("TI_g = 100 · DI_g / DI_math"),
            "“Literal” takes s_g as the standard deviation of that model's own changes in the group, as the paper's "
            "text reads; “pooled” takes one constant per group over all compared models, as its published numbers "
            "were made; “paper's scales” the constants of those numbers, 1 : 1.1344 : 1.2753. The index is undefined "
            "if math did not gain. It is a ratio: if math gained little, its interval is wide or has no end, and the "
            "changes themselves are more informative. Its intervals resample questions and seeds as above.",
        ),
    )


def _divergence(summary: dict) -> TextSection:
    texts = summary["drift_texts"]
    where = "Replies of the evaluation"
    if texts is not None:
        where = (
            f"Replies of the evaluation ({texts['decoding']}; up to {texts['per_benchmark']} a "
            f"task; {texts['num_cut']} cut at the length limit, {texts['num_dropped']} without a "
            "reply)"
        )
    return TextSection(
        "KL divergence",
        (
            f"{where}, as the token ids that were sampled{_asked_so(texts)}. At every reply token, the first and "
            "the end token included, both models' distributions over the full vocabulary V are "
            "compared:",
            Formula("KL(base ‖ tuned) = Σ_v p_base(v) · log(p_base(v) / p_tuned(v))"),
            "and averaged over tokens of a task, then over tasks. Forward KL is taken on the base's replies, reverse "
            "KL on the tuned model's: each on the texts of the model over which its expectation is taken. On replies "
            "that were decoded greedily neither is an expectation under the model.",
            *_training_prompts(summary),
        ),
    )


def _training_prompts(summary: dict) -> list[str]:
    if not any(row["group"] == TRAINING for row in summary["drift"]):
        return []
    return [
        "Training prompts: questions that the arm learned from, asked as its training asks them. The base's replies "
        "to them are drawn at temperature 1, so that forward KL there is KL(base ‖ tuned) on the new task's prompts, "
        "from which RL's Razor (arXiv 2509.04259) predicts forgetting."
    ]


def _asked_so(texts: dict | None) -> str:
    variant = None if texts is None else texts["variant"]
    return "" if variant is None else f" when tasks were put {WAYS[variant]}"


def _shift() -> TextSection:
    return TextSection(
        "PCA shift",
        (
            "h is a text's mean hidden state over reply tokens in one layer (Hugging Face's "
            "hidden_states: embeddings, then every block, the last one after the final norm). "
            "Axes e₁, e₂: the first two principal components of the base's h over the texts of "
            "a task, layer by layer.",
            Formula("Δ_l = mean over texts of (h_tuned − h_base) · (e₁, e₂)"),
            Formula("mean of layers: mean_l |Δ_l|        layers averaged first: |mean_l Δ_l|"),
            "The second is the paper's. Shifts of opposite sign cancel in it, and an axis' sign is arbitrary, so the "
            "first is the one to rely on. “In spreads” divides |Δ_l| by the standard deviation of the base's texts in "
            "the plane.",
        ),
    )


def _states(summary: dict) -> list[TextSection]:
    if not summary["states"]["rows"]:
        return []
    parts = (
        "X and Y are the two models' mean states of the same texts in one layer, centred; numbers are means over "
        "layers. Debiased CKA only uses pairs of different texts (plain CKA is high for any two models when there "
        "are fewer texts than dimensions). Angle: the mean principal angle between the spans of the first principal "
        "components of X and of Y; variance off the base's axes: how much less of Y's variance lies along the "
        "components of X than along those of Y.",
        "As shares of the base's variance tr C_x, the squared shift of the mean and the change of covariance are the "
        "two parts of the Fréchet distance of Gaussians:",
        Formula("(|Δμ|² + tr C_x + tr C_y − 2 tr (C_x^½ C_y C_x^½)^½) / tr C_x"),
        "Rotation is the part of the mean squared distance of X and Y that the best rotation of X removes, scaling "
        "is the part that a scaling removes after that, and the last part is the rest.",
        *_sinks_said(summary),
    )
    return [TextSection("Hidden states", parts)]


def _sinks_said(summary: dict) -> list[str]:
    rows = summary["states"]["sinks"]
    if not rows:
        return []
    return [
        f"A sink token of a layer is a token whose state there has, in either model, more than {rows[0]['ratio']:g} "
        "times the median norm of its text; in the middle of many models the first token is a sink, whatever the "
        "text. “Without sink tokens” leaves them out of a text's mean, layer by layer."
    ]


def _other_drift() -> TextSection:
    return TextSection(
        "Other measures of drift",
        (
            "|Mean log-ratio|: mean over a reply's tokens of log p_tuned − log p_base, then over replies, then the "
            "absolute value (the paper's “KL”). Rank shift: mean |rank under base − rank under tuned| of the tokens "
            "written. Another first choice: share of tokens at which the two models' most likely tokens differ. "
            "Cosine distance: mean over reply tokens of 1 − cos of the final states. CKA: linear, of texts' mean "
            "states; as a distance, 1 − CKA. Weights: |Δw| / |w| over all parameters, and the share of parameters "
            "that differ after rounding to bfloat16.",
        ),
    )
