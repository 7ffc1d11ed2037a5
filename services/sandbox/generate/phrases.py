"""Vocabulary of generated mail by language, with the charsets that its mail programs use."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Language:
    """One language. Charsets are drawn uniformly: a repeated one is more frequent."""

    code: str
    charsets: tuple[str, ...]
    names: tuple[str, ...]
    subjects: tuple[str, ...]
    sentences: tuple[str, ...]
    reply: str = "Re: "


LANGUAGES: tuple[Language, ...] = (
    Language(
        "en",
        ("us-ascii", "us-ascii", "utf-8", "utf-8", "iso-8859-1"),
        (
            "Grace Hopper",
            "Alan Turing",
            "Margaret Hamilton",
            "Donald Knuth",
            "Barbara Liskov",
            "Katherine Johnson",
            "Edsger Dijkstra",
            "Radia Perlman",
            "John O'Neill",
            "Mary Anne Smith",
        ),
        (
            "Minutes of Tuesday's meeting",
            "Invoice {n} for October",
            "Question about the contract",
            "Lunch on Friday?",
            "Draft of the annual report, version {n}",
            "Your order #{n} has shipped",
            "Build {n} failed on main",
            "Flight confirmation {n}",
            "Photos from the weekend",
            "Reminder: dentist appointment",
        ),
        (
            "Thank you for getting back to me so quickly.",
            "I have attached the latest version of the document with my comments in the margin.",
            "Could you please confirm the numbers before we send them to the customer?",
            "The meeting has moved to Thursday at ten, same room as last time.",
            "We still need a decision about the venue; the deposit is due next week.",
            "Let me know if anything is unclear & I'll call you.",
            "As discussed, the budget may not exceed last year's by more than 5%.",
            "The train was late again, so I missed the first half of the talk.",
            "Please find the details below.",
            "I am out of office until Monday with no access to mail.",
            "It works on my machine < yours, apparently.",
            'He said "never again", and then did it twice.',
        ),
    ),
    Language(
        "ru",
        ("utf-8", "utf-8", "koi8-r", "windows-1251"),
        ("Анна Ковалёва", "Сергей Петров", "Мария Иванова", "Дмитрий Соколов", "Ольга Кузнецова", "Павел Орлов"),
        (
            "Протокол совещания",
            "Счёт № {n} за октябрь",
            "Вопрос по договору",
            "Билеты на поезд",
            "Отчёт за квартал",
            "Ваш заказ {n} отправлен",
        ),
        (
            "Спасибо за быстрый ответ.",
            "Во вложении последняя версия документа с моими замечаниями.",
            "Подтвердите, пожалуйста, цифры до отправки заказчику.",
            "Встреча перенесена на четверг, десять часов утра.",
            "Нам по-прежнему нужно решение по поводу зала.",
            "Если что-то непонятно, позвоните мне вечером.",
            "Договор подписан, оригинал отправлен почтой.",
            "Поезд опоздал, и я пропустил начало доклада.",
        ),
    ),
    Language(
        "de",
        ("utf-8", "utf-8", "iso-8859-1", "iso-8859-15", "windows-1252"),
        ("Jürgen Müller", "Käthe Weiß", "Björn Schäfer", "Anneliese Groß", "Günther Krüger"),
        (
            "Protokoll der Sitzung",
            "Rechnung Nr. {n}",
            "Frage zum Vertrag",
            "Einladung zum Grillfest",
            "Fahrpläne für Köln",
        ),
        (
            "Vielen Dank für die schnelle Rückmeldung.",
            "Anbei die überarbeitete Fassung mit meinen Anmerkungen.",
            "Könnten Sie die Zahlen bitte bis Freitag bestätigen?",
            "Die Besprechung wurde auf Donnerstag verschoben.",
            "Mit freundlichen Grüßen aus München.",
            "Der Zug hatte wieder zwanzig Minuten Verspätung.",
        ),
        "AW: ",
    ),
    Language(
        "fr",
        ("utf-8", "utf-8", "iso-8859-1", "windows-1252"),
        ("François Lefèvre", "Zoé Dubois", "Hélène Moreau", "Gaël Garçon"),
        ("Compte rendu de la réunion", "Facture n° {n}", "Question à propos du contrat", "Dîner samedi ?"),
        (
            "Merci beaucoup pour votre réponse rapide.",
            "Vous trouverez ci-joint la dernière version du document.",
            "Pourriez-vous confirmer les chiffres avant l'envoi ?",
            "La réunion est déplacée à jeudi, dix heures.",
            "N'hésitez pas à m'appeler si besoin, à bientôt.",
        ),
    ),
    Language(
        "es",
        ("utf-8", "utf-8", "iso-8859-1"),
        ("José Núñez", "María García", "Íñigo Peña", "Lucía Fernández"),
        ("Acta de la reunión", "Factura n.º {n}", "¿Comemos el viernes?", "Consulta sobre el contrato"),
        (
            "Muchas gracias por su pronta respuesta.",
            "Adjunto la última versión del documento.",
            "¿Podría confirmar las cifras antes de mañana?",
            "La reunión se ha aplazado hasta el jueves.",
            "Quedo a la espera de sus noticias.",
        ),
    ),
    Language(
        "pl",
        ("utf-8", "iso-8859-2", "windows-1250"),
        ("Łukasz Żółtowski", "Małgorzata Wiśniewska", "Paweł Dąbrowski"),
        ("Protokół ze spotkania", "Faktura nr {n}", "Pytanie o umowę"),
        (
            "Dziękuję za szybką odpowiedź.",
            "W załączniku przesyłam najnowszą wersję dokumentu.",
            "Spotkanie zostało przełożone na czwartek.",
            "Proszę o potwierdzenie kwot przed wysyłką.",
        ),
    ),
    Language(
        "tr",
        ("utf-8", "iso-8859-9", "windows-1254"),
        ("Ayşe Yılmaz", "Mehmet Öztürk", "İbrahim Çağlar"),
        ("Toplantı tutanağı", "{n} numaralı fatura", "Sözleşme hakkında soru"),
        (
            "Hızlı cevabınız için teşekkür ederim.",
            "Belgenin son hâlini ekte bulabilirsiniz.",
            "Toplantı perşembe gününe ertelendi.",
            "Lütfen rakamları onaylayın.",
        ),
    ),
    Language(
        "el",
        ("utf-8", "iso-8859-7"),
        ("Γιώργος Παπαδόπουλος", "Ελένη Νικολάου"),
        ("Πρακτικά της συνάντησης", "Τιμολόγιο {n}", "Ερώτηση για το συμβόλαιο"),
        (
            "Ευχαριστώ πολύ για τη γρήγορη απάντηση.",
            "Επισυνάπτω την τελευταία έκδοση του εγγράφου.",
            "Η συνάντηση μεταφέρθηκε για την Πέμπτη.",
        ),
    ),
    Language(
        "he",
        ("utf-8", "utf-8", "windows-1255"),
        ("דוד כהן", "שרה לוי", "יעל מזרחי"),
        ("סיכום הישיבה", "חשבונית מספר {n}", "שאלה בנוגע לחוזה"),
        ("תודה רבה על התשובה המהירה.", "מצורפת הגרסה האחרונה של המסמך.", "הפגישה נדחתה ליום חמישי בשעה עשר."),
    ),
    Language(
        "ar",
        ("utf-8", "utf-8", "windows-1256"),
        ("محمد الأحمد", "فاطمة حسن", "يوسف الخطيب"),
        ("محضر الاجتماع", "فاتورة رقم {n}", "سؤال حول العقد"),
        (
            "شكرا جزيلا على ردكم السريع.",
            "تجدون في المرفق النسخة الأخيرة من الوثيقة.",
            "تم تأجيل الاجتماع إلى يوم الخميس.",
        ),
    ),
    Language(
        "hi",
        ("utf-8",),
        ("अमित शर्मा", "प्रिया वर्मा"),
        ("बैठक का विवरण", "चालान संख्या {n}", "अनुबंध के बारे में प्रश्न"),
        ("आपके त्वरित उत्तर के लिए धन्यवाद।", "दस्तावेज़ का नवीनतम संस्करण संलग्न है।", "बैठक गुरुवार तक स्थगित कर दी गई है।"),
    ),
    Language(
        "th",
        ("utf-8", "tis-620"),
        ("สมชาย ใจดี", "สุดา วงศ์ไทย"),
        ("รายงานการประชุม", "ใบแจ้งหนี้เลขที่ {n}"),
        ("ขอบคุณสำหรับการตอบกลับอย่างรวดเร็ว", "แนบเอกสารฉบับล่าสุดมาด้วยแล้ว", "การประชุมเลื่อนไปเป็นวันพฤหัสบดี"),
    ),
    Language(
        "zh",
        ("utf-8", "utf-8", "gb2312", "gb18030"),
        ("王小明", "李娜", "张伟", "陈静"),
        ("会议纪要", "发票编号{n}", "关于合同的问题", "周五一起吃午饭吗"),
        (
            "感谢您的及时回复。",
            "附件是最新版本的文件，请查收。",
            "会议改到星期四上午十点举行。",
            "请在发送给客户之前确认这些数字。",
            "火车又晚点了，我错过了报告的前半部分。",
        ),
    ),
    Language(
        "zh-tw",
        ("utf-8", "big5"),
        ("林志明", "黃淑芬"),
        ("會議紀錄", "發票編號{n}", "關於合約的問題"),
        ("感謝您的迅速回覆。", "附件是最新版本的文件，請查收。", "會議改到星期四上午十點。"),
    ),
    Language(
        "ja",
        ("utf-8", "utf-8", "iso-2022-jp", "shift_jis", "euc-jp"),
        ("田中太郎", "佐藤花子", "鈴木一郎"),
        ("会議の議事録", "請求書 {n} の件", "契約についての質問", "金曜日のランチ"),
        (
            "早速のご返信ありがとうございます。",
            "最新版の資料を添付しますのでご確認ください。",
            "会議は木曜日の十時に変更になりました。",
            "お客様に送る前に数字をご確認いただけますか。",
        ),
    ),
    Language(
        "ko",
        ("utf-8", "euc-kr"),
        ("김민준", "이서연", "박지훈"),
        ("회의록", "{n}번 송장", "계약에 관한 질문"),
        ("빠른 답변 감사합니다.", "최신 버전의 문서를 첨부합니다.", "회의가 목요일 오전 열 시로 변경되었습니다."),
    ),
    Language(
        "emoji",
        ("utf-8",),
        ("Zoë 🚀", "Party Crew 🎉"),
        ("🎉 It's done! {n}", "Weekend plans 🏖️🍹", "👩‍👩‍👧‍👦 family photos"),
        ("See you there 👋🏽!", "Bring snacks 🍕🍕 and a jumper 🧥.", "It was 100% worth it 💯 — thank you 🙏."),
    ),
)

WEIGHTS: dict[str, int] = {"en": 40, "ru": 14, "de": 8, "fr": 6, "es": 6, "zh": 5, "ja": 5}
"""Share of correspondents by language; 2 for every other one."""

USER_LABELS: tuple[str, ...] = (
    "Work",
    "Work/Projects",
    "Work/Проекты",
    "Receipts",
    "Travel",
    "Family & friends",
    "Путешествия",
    "重要な書類",
    "Newsletters",
    "To do",
)

COMPANIES: tuple[tuple[str, str], ...] = (
    ("Bright Books", "news.brightbooks.example"),
    ("Nordwind Reisen", "mail.nordwind.example"),
    ("Кофейня на углу", "kofe.example"),
    ("Cloudberry Hosting", "cloudberry.example"),
    ("東京ガジェット", "gadget.example"),
    ("Daily Digest", "digest.example"),
)

HOSTS: tuple[str, ...] = ("example.com", "example.org", "example.net", "mail.example", "uni.example", "firma.example")

FILES: tuple[tuple[str, str, bytes], ...] = (
    ("report.pdf", "application/pdf", b"%PDF-1.7\n"),
    ("Rechnung März.pdf", "application/pdf", b"%PDF-1.4\n"),
    ("photo.jpg", "image/jpeg", b"\xff\xd8\xff\xe0"),
    ("Снимок экрана.png", "image/png", b"\x89PNG\r\n\x1a\n"),
    ("table.xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", b"PK\x03\x04"),
    ("議事録.docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document", b"PK\x03\x04"),
    ("backup.zip", "application/zip", b"PK\x03\x04"),
    ("data.csv", "text/csv", b"id,name\r\n"),
    ("notes.txt", "text/plain", b"notes\r\n"),
)
