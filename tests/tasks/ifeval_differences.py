"""Replies on which the released checks of IFEval are wrong by an accident of format.

Instruction id, its arguments, a reply, and whether it follows the instruction; the released check
says the opposite.
"""

FIRST = {"num_paragraphs": 2, "nth_paragraph": 1, "first_word": "booster"}
TWO_SECTIONS = {"section_spliter": "Section", "num_sections": 2}
SENTENCES = "length_constraints:number_sentences"
PS, PPS = {"postscript_marker": "P.S."}, {"postscript_marker": "P.P.S"}
CITIES = "TOP TEN CITIES: PARIS, ROME, OSLO, BERLIN, MADRID, LISBON, VIENNA, PRAGUE, ATHENS, DUBLIN"


def sentence_count(relation: str, number: int) -> dict:
    return {"relation": relation, "num_sentences": number}


def often(keyword: str, number: int) -> dict:
    return {"keyword": keyword, "relation": "at least", "frequency": number}


BULLETS, HIGHLIGHTS = {"num_bullets": 2}, {"num_highlights": 2}
DIFFERENCES = [
    ("length_constraints:nth_paragraph_first_word", FIRST, "__Booster__ x\n\nThey.", True),
    ("detectable_format:number_bullet_lists", BULLETS, "\u27a2 one\n\u27a2 two", True),
    ("detectable_format:number_highlighted_sections", HIGHLIGHTS, "*a* and 2*3*4", False),
    ("combination:two_responses", {}, "a\n*******\nb", False),
    ("detectable_format:json_format", {}, "````json\n[1]\n````", True),
    ("startend:quotation", {}, "\u201dAll of it.\u201d", True),
    ("startend:quotation", {}, "\u00bbAll of it.\u00ab", True),
    ("keywords:existence", {"keywords": ["f(x)"]}, "Let f(x) be one.", True),
    ("keywords:existence", {"keywords": ["U.S."]}, "The UXSA is no country.", False),
    ("keywords:existence", {"keywords": ["cat"]}, "We concatenate.", False),
    ("keywords:existence", {"keywords": ["don't"]}, "We don\u2019t.", True),
    ("keywords:existence", {"keywords": ["ice cream"]}, "Ice\ncream!", True),
    ("keywords:frequency", often("art", 3), "start smart apart", False),
    ("keywords:frequency", often("war", 1), "forward", False),
    ("keywords:frequency", often("a.b", 1), "acb", False),
    ("keywords:frequency", often("3", 1), "3.5 and 13", False),
    ("keywords:frequency", often("U.S.", 2), "The U.S. and the E.U.S. and UZSA", False),
    ("keywords:forbidden_words", {"forbidden_words": ["$5"]}, "It costs $5 now.", False),
    ("keywords:forbidden_words", {"forbidden_words": ["#tag"]}, "A #tag here.", False),
    ("keywords:forbidden_words", {"forbidden_words": ["a.b"]}, "acb", True),
    ("language:response_language", {"language": "de"}, "DAS IST NICHT MEIN HAUS", True),
    (SENTENCES, sentence_count("at least", 2), "They moved to the U.S. She stayed.", True),
    (SENTENCES, sentence_count("at least", 2), "Come at 5 p.m. Bring wine.", True),
    (SENTENCES, sentence_count("less than", 4), "1. Eat well.\n2. Sleep well.\n3. Walk.", True),
    (SENTENCES, sentence_count("less than", 2), "Use fruit (e.g. apples, pears, etc. from a shop).", True),
    (SENTENCES, sentence_count("at least", 3), "这是第一句。这是第二句。这是第三句。", True),
    (SENTENCES, sentence_count("at least", 2), "यह लाल है। वह नीला है।", True),
    (SENTENCES, sentence_count("less than", 3), "One. Two.\n\n---\n\n***", True),
    (SENTENCES, sentence_count("less than", 2), '"Really?" he asked.', True),
    (SENTENCES, sentence_count("at least", 3), "- Eat well\n- Sleep well\n- Walk", True),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "A ***bold*** one.\n***\nTwo.", True),
    ("length_constraints:nth_paragraph_first_word", FIRST, "**Booster** seats help.\n\nThey are safe.", True),
    ("length_constraints:nth_paragraph_first_word", FIRST, "Booster: yes.\n\nThey are safe.", True),
    ("length_constraints:nth_paragraph_first_word", FIRST, "Booster\u2014yes.\n\nThey are safe.", True),
    ("length_constraints:nth_paragraph_first_word", FIRST, "\u201cBooster\u201d it is.\n\nThey are safe.", True),
    ("length_constraints:nth_paragraph_first_word", FIRST, "# Booster; seats\n\nThey are safe.", True),
    ("length_constraints:nth_paragraph_first_word", FIRST, "\n\nBooster seats.\n\nThey are safe.", True),
    ("length_constraints:nth_paragraph_first_word", FIRST, "Booster seats.\n \nThey are safe.", True),
    ("length_constraints:nth_paragraph_first_word", FIRST, "Booster seats.\n\n---\n\nThey are safe.", True),
    ("length_constraints:nth_paragraph_first_word", FIRST, "Booster's end.\n\nThey are safe.", False),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[your name] and [date of\nbirth]", True),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[a link](http://x.y) and [name]", False),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "- [ ] one [1]\n- [x] two", False),
    ("detectable_content:postscript", PS, "At 5 p.m. he says: stop. s. ", False),
    ("detectable_content:postscript", PS, "The U.P.S. truck came.", False),
    ("detectable_content:postscript", PS, "Bye.\nP.P.S. Call me.", False),
    ("detectable_content:postscript", PPS, "The P.P.Stone and the A.P.P.S. came.", False),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "\u2022 one\n\u2022 two", True),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "+ one\n+ two", True),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "- one\n- two\n\n---\n", True),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* one\n* two\n* * *\nend", True),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "*Note* well\n- one\n- two", True),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "-5 degrees\n- one\n- two", True),
    ("detectable_format:constrained_response", {}, "My answer is yes. No: My answer is no.", False),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "***one***", False),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 1}, "2 * 3 * 4", False),
    ("detectable_format:multiple_sections", TWO_SECTIONS, "SECTION 1\na\nSECTION 2\nb", True),
    ("detectable_format:multiple_sections", TWO_SECTIONS, "## section 1\na\n**SECTION 2**\nb", True),
    ("detectable_format:multiple_sections", TWO_SECTIONS, "Section 1\na\nSection 2\nb\nSection 3\nc", False),
    ("detectable_format:multiple_sections", TWO_SECTIONS, "Section 1\nas in Section 1", False),
    ("detectable_format:json_format", {}, "~~~json\n{\"a\": 1}\n~~~", True),
    ("detectable_format:json_format", {}, "```json5\n[1]\n```", True),
    ("detectable_format:json_format", {}, '{"a": NaN}', False),
    ("detectable_format:json_format", {}, '{"a": 1}\n```', False),
    ("detectable_format:title", {}, "<<...>>", False),
    ("combination:two_responses", {}, "one  two\n******\none two", False),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say \"hi\"."}, "Say  \u201chi\u201d. Hi!", True),
    ("startend:end_checker", {"end_phrase": "Peace!"}, "Done. **Peace!**", True),
    ("startend:end_checker", {"end_phrase": "Peace!"}, "\u201cDone. Peace!\u201d", True),
    ("startend:end_checker", {"end_phrase": "That's it."}, "That\u2019s it.", True),
    ("startend:end_checker", {"end_phrase": "in India."}, "It is Berlin India.", False),
    ("startend:quotation", {}, "\u201cAll of it.\u201d", True),
    ("startend:quotation", {}, "\u00abAll of it.\u00bb", True),
    ("change_case:capital_word_frequency", {"capital_relation": "less than", "capital_frequency": 2}, "IT'S", True),
    ("change_case:english_capital", {}, "DANCING FOR FUN", True),
    ("change_case:english_capital", {}, "1. RED\n2. BLUE\n3. GREEN", True),
    ("change_case:english_capital", {}, CITIES, True),
    ("change_case:english_capital", {}, "DEAR TEAM,\n\nPLEASE JOIN US FOR LUNCH ON FRIDAY. KIND REGARDS, ANNA", True),
    ("change_case:english_lowercase", {}, "paris, rome, oslo, berlin, madrid, lisbon, vienna", True),
    ("punctuation:no_comma", {}, "\u597d\uff0c\u8c22\u8c22", False),
]  # fmt: skip
