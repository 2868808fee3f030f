"""Further replies whose letter a reader sees: verdicts on a list, other languages, brackets and wide letters."""

FURTHER = [
    (
        "A: This is incorrect because x.\n"
        "B: This is correct because y.\n"
        "C: This is incorrect because z.\n"
        "D: This is incorrect because w.",
        "B",
    ),
    (
        "A. This is wrong since x.\n"
        "B. This option is correct since y.\n"
        "C. It is not correct since z.\n"
        "D. That is false.",
        "B",
    ),
    ("The choice that fits is B.", "B"),
    ("De juiste antwoord is B.", "B"),
    ("Ans. (d)", "D"),
    ("Ans (d)", "D"),
    ("Hence (b).", "B"),
    ("So (c).", "C"),
    ("Ｂ", "B"),
    ("The answer is Ｂ.", "B"),
    (
        "A: This is correct because x.\n"
        "B: This is incorrect.\n"
        "C: This is incorrect.\n"
        "D: This is incorrect.",
        "A",
    ),
    ("A: **Incorrect** - x\nB: **Correct** - y\nC: **Incorrect** - x\nD: **Incorrect** - x", "B"),
    (
        "A: Incorrect, since it\n"
        "B: True, it is\n"
        "C: That's wrong, as\n"
        "D: It isn't correct because",
        "B",
    ),
    (
        "A: This statement is false.\n"
        "B: This statement is false.\n"
        "C: This statement is true, since x holds.\n"
        "D: This statement is not true, since.",
        "C",
    ),
    (
        "A: It is true that x, but y fails.\n"
        "B: It is true that z, but w fails.\n"
        "C: This is correct.\n"
        "D: This is wrong.",
        "C",
    ),
    (
        "A: This is correct only if x.\n"
        "B: This is wrong.\n"
        "C: This is wrong.\n"
        "D: This is correct.",
        "D",
    ),
    ("A: This is correct.\nB: This is correct.\nC: This is wrong.\nD: This is wrong.", None),
    ("A: This is correct.\nB: This is correct.\nC: This is wrong.\nD: This is correct.", None),
    (
        "A: Paris - incorrect, it is in France\n"
        "B: London - correct, it is in England\n"
        "C: Berlin - incorrect, it is\n"
        "D: Madrid - wrong, it is",
        "B",
    ),
    (
        "A: Paris (incorrect): it is in France\n"
        "B: London (correct): it is in England\n"
        "C: Berlin (incorrect): it is\n"
        "D: Madrid (wrong): x",
        "B",
    ),
    (
        "Option A: This is incorrect.\n"
        "Option B: This is correct.\n"
        "Option C: This is incorrect.\n"
        "Option D: This is incorrect.",
        "B",
    ),
    (
        "Option A is incorrect.\n"
        "Option B is correct.\n"
        "Option C is incorrect.\n"
        "Option D is incorrect.",
        "B",
    ),
    (
        "- Option A: incorrect because x.\n"
        "- Option B: correct because y.\n"
        "- Option C: incorrect because z.",
        "B",
    ),
    ("(a) This is wrong.\n(b) This is right.\n(c) This is wrong.", "B"),
    (
        "A: The right ventricle pumps.\n"
        "B: The left ventricle.\n"
        "C: The right atrium.\n"
        "D: The left atrium.",
        None,
    ),
    (
        "A: This is a correct-looking trap.\n"
        "B: It is true to some extent.\n"
        "C: This is correct.\n"
        "D: This is wrong.",
        "C",
    ),
    (
        "Answer: A\n\n"
        "A: This is wrong.\n"
        "B: This is correct.\n"
        "C: This is wrong.\n"
        "D: This is wrong.",
        "A",
    ),
    ("The choice which satisfies this is C.", "C"),
    ("The option that does not fit is B.", None),
    ("The choice that can be eliminated is B.", None),
    ("The choice that fits is B or C.", None),
    ("The choice that fits is not B.", None),
    ("The one that works is (c).", "C"),
    ("The question is whether the choice that fits is B.", None),
    ("Is the choice that fits B?", None),
    ("Which choice is B?", None),
    ("The only one that fits is B.", "B"),
    ("Het antwoord is B.", "B"),
    ("Het juiste antwoord is C.", "C"),
    ("Antwoord: D", "D"),
    ("Die Antwort ist (b).", "B"),
    ("Die richtige Lösung ist C.", "C"),
    ("Richtig ist C.", "C"),
    ("Richtig ist Antwort C.", "C"),
    ("La respuesta es la B.", "B"),
    ("La respuesta correcta es la opción C.", "C"),
    ("La opción correcta es B.", "B"),
    ("La bonne réponse est la C.", "C"),
    ("La réponse est C.", "C"),
    ("La réponse correcte est la réponse B.", "B"),
    ("La bonne réponse est l'option D.", "D"),
    ("Réponse : B", "B"),
    ("La risposta corretta è la B.", "B"),
    ("A resposta correta é a C.", "C"),
    ("A resposta correta é a letra D.", "D"),
    ("Die Antwort ist nicht B.", None),
    ("La respuesta no es B.", None),
    ("La réponse n'est pas B.", None),
    ("La réponse n'est pas A mais B.", "B"),
    ("Die Antwort ist nicht A, sondern C.", "C"),
    ("Antwort A ist falsch. Antwort B ist richtig. Antwort C ist falsch.", "B"),
    ("Option A ist falsch, Option B ist richtig.", "B"),
    ("Ich wähle B.", "B"),
    ("A plan. Die Antwort: B", "B"),
    ("Ans: (b)", "B"),
    ("ANS (c)", "C"),
    ("Ans. d", "D"),
    ("Ans = 5", None),
    ("Ans. B", "B"),
    ("ans: a", "A"),
    ("Ans. (b) or (c)", None),
    ("Hence (b) is wrong.", None),
    ("Hence, (b)", "B"),
    ("Therefore (d).", "D"),
    ("Thus: (c)", "C"),
    ("So (a) or (b).", None),
    ("So (b), (c).", None),
    ("Hence (b) holds.", "B"),
    ("Hence b.", None),
    ("So (a) follows from (b).", None),
    ("Ｃ．", "C"),
    ("（Ｂ）", "B"),
    ("答案：Ｃ", "C"),
    ("𝐁", "B"),
    ("Ⓑ", "B"),
    ("The answer is 𝗖.", "C"),
    ("Answer：B", "B"),
    ("A-level exams matter.", None),
    ("B-cells make antibodies.", None),
    ("C-section", None),
    ("The answer I get is C.", "C"),
    ("The option I chose is (B).", "B"),
    ("The statement that is true is B.", "B"),
    ("The correct sequence is D.", "D"),
    ("The best reaction partner is **A**.", "A"),
    ("The odd one out is B.", "B"),
    ("The letter is B", "B"),
    ("The answer I thought of is B.", None),
    ("If the correct sequence is B, it ends.", None),
    ("The correct approach is a careful one.", None),
    ("The correct vitamin is B or C.", None),
]  # fmt: skip
