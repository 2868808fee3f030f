"""Words around the letter of a choice in Chinese, Japanese, Korean, Slavic and further languages.

`letter_patterns` and `letter_judgements` have those of English and its neighbours. Scripts without spaces have no
borders of words: in `选B` the letter follows directly.
"""

# "The answer is", and "choose" unless it is not done: 不选, 如果选.
_ASIAN_ANSWER = (
    "(?:\u7b54\u6848|\u6b63\u89e3|\u7b54\u3048|\u6b63\u7b54|\uc815\ub2f5|(?<![\uac00-\ud7a3])\ub2f5)"
    "(?:\u3011|\u5e94\u8be5|\u61c9\u8a72|[\u5e94\u61c9\u5c31\u662f\u4e3a\u70ba\u9009\u9078\u306f\uc740\ub294\uc774]"
    r"|\s|[:\uff1a])*+"
)
_ASIAN_CHOOSE = (
    "(?<![\u4e0d\u522b\u53ef\u679c\u82e5\u4f1a\u8bef\u6ca1\u514d])[\u9009\u9078](?:\u62e9|\u64c7)?"
)
_ANSWER = (
    "ответ|відповідь|đáp\\s+án(?:\\s+đúng)?|odpowied[źz]|odpověď|cevap|jawaban(?:nya)?|svar(?:et)?|απάντηση"
    "|उत्तर|الإجابة(?:\\s+الصحيحة)?|الجواب(?:\\s+الصحيح)?|คำตอบ(?:ที่ถูกต้อง)?|(?:верный|правильный)\\s+вариант(?:\\s+ответа)?"
)
_IS = "это|будет|là|to|jest|adalah|är|είναι|هي|هو|คือ"
FOREIGN_LEAD = (
    rf"{_ASIAN_ANSWER}|{_ASIAN_CHOOSE}"
    rf"|(?<!\w)(?:{_ANSWER})(?!\w)\s*(?:(?:{_IS})(?!\w)|[:：=]|[-–—](?=\s))?"
)
_OPTION = r"(?:[\u9009\u9078]?[\u9879\u9805])?\s*[\u306f\u304c\uac00\uc774\uc740\ub294]?\s*"
FOREIGN_WRONG = (
    rf"{_OPTION}(?:[\u662f\u90fd\u5747\u4e5f\u7686\u5219]\s*)*"
    "(?:[\u9519\u932f\u8bef\u8aa4\u4e0d\u9055]|\u9593\u9055|\u6709\u8bef|\u65e0\u6cd5|\u3067\u306f(?:\u306a|\u3042\u308a)"
    "|\ud2c0|\uc544\ub2c8)"
    r"|(?:не(?:вер|прав|\s)|ложн|yanlış|salah\b|(?:là\s+)?sai\b|(?:jest\s+)?(?:błędn|niepraw)|गलत|خاطئ|خطأ)"
)
FOREIGN_RIGHT = (
    rf"{_OPTION}(?:[\u662f\u4e3a\u70ba]\s*)?"
    "(?:\u6b63\u786e|\u6b63\u78ba|[\u5bf9\u5c0d]\u7684|\u6b63\u3057\u3044|\u6b63\u89e3|\uc815\ub2f5|\ub9de|\uc633)(?!\u5417)"
    "|(?:верен|верн|правильн)"
)
FOREIGN_NOT = "не|nie|không\\s+phải|bukan|وليس|ليس"
FOREIGN_AND = "[\u548c\u4e0e\u8207\u53ca\u6216\u8ddf\u3001\u3068\u3084\uacfc\uc640]"
