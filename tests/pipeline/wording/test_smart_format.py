"""English numbers, dates, times, currencies, telephone numbers, addresses: how each is written, and what stays."""

from __future__ import annotations

import pytest

from tests.pipeline.wording.rewording import said, smart

NUMBERS = [
    ("nine hundred people", "900 people"),
    ("the nine hundredth time", "the 900th time"),
    ("one hundred and twenty-three", "123"),
    ("a hundred and one", "101"),
    ("twelve thousand five hundred", "12,500"),
    ("seven thousand of them", "7,000 of them"),
    ("twelve hundred", "1200"),
    ("one million two hundred thousand", "1,200,000"),
    ("five million people", "5 million people"),
    ("two point five billion", "2.5 billion"),
    ("three point one four one five nine", "3.14159"),
    ("between one hundred and two hundred", "between 100 and 200"),
    ("one hundred two hundred three hundred", "100 200 300"),
    ("five to ten of them", "5 to 10 of them"),
]


@pytest.mark.parametrize(("heard", "written"), NUMBERS)
def test_numbers_become_digits(heard: str, written: str) -> None:
    """Cardinals, ordinals and decimals, with separators where they are no years, and large ones by their names."""
    assert smart(heard) == written


@pytest.mark.parametrize(
    "text",
    [
        "Two switches and the first one of them",
        "no one has two or three",
        "a million a thousand times",
        "a couple hundred thousand people",
        "one third and two fifths and three quarters",
        "hundreds of thousands",
        "at this point nobody",
        "a second",
        "may I march",
        "oh well o no",
    ],
)
def test_what_people_write_in_words_stays_in_words(text: str) -> None:
    """Small numbers in running text, vague ones and fractions; Deepgram writes "Two switches" (observed)."""
    assert smart(text) == text


@pytest.mark.parametrize(
    ("heard", "written"),
    [
        ("page two", "page 2"),
        ("chapter three, step one.", "chapter 3, step 1."),
        ("five percent", "5%"),
        ("five milligrams", "5 milligrams"),
        ("five o'clock", "5 o'clock"),
        ("number seven", "number 7"),
        ("three million", "3 million"),
        ("twenty five five", "25 5"),
    ],
)
def test_small_numbers_are_digits_where_something_asks_for_it(heard: str, written: str) -> None:
    """Behind a label, before a unit or a sign, beside another number."""
    assert smart(heard) == written


@pytest.mark.parametrize(
    ("heard", "written"),
    [
        ("five dollars", "$5"),
        ("five dollars and fifty cents.", "$5.50."),
        ("five dollars five cents", "$5.05"),
        ("fifty cents", "50 cents"),
        ("a hundred dollars", "$100"),
        ("twelve hundred euros", "€1,200"),
        ("two point five million dollars,", "$2.5 million,"),
        ("a million dollars", "a million dollars"),
        ("5 dollars", "$5"),
        ("5 million dollars", "$5 million"),
        ("one hundred percent", "100%"),
        ("a hundred percent", "100%"),
        ("two point five per cent", "2.5%"),
        ("50 percent", "50%"),
        ("point five percent", "point five percent"),
        ("five pounds", "5 pounds"),
    ],
)
def test_amounts_of_money_and_percentages(heard: str, written: str) -> None:
    """The sign goes to the number; pounds may be a weight and stay."""
    assert smart(heard) == written


@pytest.mark.parametrize(
    ("heard", "written"),
    [
        ("eight thirty seven pm", "8:37 PM"),
        ("eight thirty-seven PM", "8:37 PM"),
        ("at eight oh five", "at 8:05"),
        ("eight p m", "8 PM"),
        ("at twelve am I left", "at 12 am I left"),
        ("eight am", "8 AM"),
        ("at nineteen thirty", "at 1930"),
        ("nineteen ninety nine", "1999"),
        ("twenty twenty two", "2022"),
        ("nineteen oh five", "1905"),
        ("two thousand twenty two", "2022"),
        ("the nineteen eighties", "the 1980s"),
        ("November second twenty twenty two", "November 2 2022"),
        ("November twenty second, twenty twenty two", "November 22, 2022"),
        ("june twenty eighth", "june 28th"),
        ("on May first", "on May 1st"),
        ("the fifth of November", "the 5th of November"),
        ("the twenty second of may", "the 22nd of may"),
        ("a sixty second delay", "a 60 second delay"),
        ("in nineteen ninety nine five people", "in 1999 5 people"),
    ],
)
def test_dates_and_times(heard: str, written: str) -> None:
    """As in Deepgram's own example: the time is one word, AM or PM another; a day before a year loses its ending."""
    assert smart(heard) == written


@pytest.mark.parametrize(
    ("heard", "written"),
    [
        ("five five five one two three four", "555-1234"),
        ("five five five eight six seven five three oh nine", "555-867-5309"),
        ("eight hundred five five five one two one two", "800-555-1212"),
        ("one eight hundred five five five one two one two", "1-800-555-1212"),
        ("one two three southeast main street", "123 southeast main street"),
        ("zero zero seven", "007"),
        ("one two three four five six seven", "1 2 3 4 5 6 7"),
        ("five five | five one two three four", "five five 51234"),
        ("five five five, one two three four", "555, 1 2 3 4"),
    ],
)
def test_digits_said_one_by_one(heard: str, written: str) -> None:
    """Seven, ten or eleven of them are a telephone number; a pause or a comma ends it; counting is no number."""
    assert smart(heard) == written


@pytest.mark.parametrize(
    ("heard", "written"),
    [
        ("email me at jane dot doe at example dot com.", "email me at jane.doe@example.com."),
        ("john at gmail dot com", "john@gmail.com"),
        ("my e-mail is john_5 at example.org", "my e-mail is john_5@example.org"),
        ("Look at Example dot com", "Look at example.com"),
        ("the people at example dot com", "the people at example.com"),
        ("www dot example dot co dot uk slash news slash today", "www.example.co.uk/news/today"),
        ("the dot com bubble", "the dot com bubble"),
        ("meet me at the dot", "meet me at the dot"),
        ("connect the dots at home", "connect the dots at home"),
        ("john at example dot nowhere", "john at example dot nowhere"),
        ("look | dot com", "look dot com"),
    ],
)
def test_addresses_and_urls(heard: str, written: str) -> None:
    """Lower case, one word; only where a known ending makes it one, and a name or a cue makes it an address."""
    assert smart(heard) == written


@pytest.mark.parametrize(
    "text",
    [
        "$5",
        "$5.50,",
        "50%",
        "9:30",
        "8:37 p.m.",
        "555-1234",
        "(555) 123-4567",
        "1,234.5",
        "3rd",
        "May 3rd, 2022.",
        "jane@example.com",
        "https://example.com/a?b=1",
        "$5 million",
        "1980s",
        "10-15",
        "B-52",
        "2nd",
        "24/7",
        "½",
    ],
)
def test_what_is_in_digits_already_stays(text: str) -> None:
    """Whisper writes digits by itself, and they are left alone, whatever stands around them."""
    assert smart(text) == text
    assert smart(f"He said {text} to her.") == f"He said {text} to her."
    assert said(text, numerals=True) == text


@pytest.mark.parametrize(
    ("heard", "written"),
    [
        ("nine hundred thousand", "900000"),
        ("june twenty eighth", "june 28th"),
        ("five five five two one", "5 5 5 2 1"),
        ("five dollars", "5 dollars"),
        ("twenty percent", "20 percent"),
        ("twenty twenty two", "2022"),
        ("two people", "two people"),
        ("john at gmail dot com", "john at gmail dot com"),
    ],
)
def test_numerals_are_digits_and_nothing_else(heard: str, written: str) -> None:
    """No separators, signs or joined digits, as Deepgram documents ``numerals``."""
    assert said(heard, numerals=True) == written


@pytest.mark.parametrize(
    ("language", "heard", "written"),
    [
        ("de", "ein Haus, fünfundzwanzig Kühe, eins zwei drei.", "ein Haus, 25 Kühe, 1 2 3."),
        ("de-CH", "hundert", "100"),
        ("fr", "un homme, vingt et un ans", "un homme, 21 ans"),
        ("es", "una casa con veinticinco", "una casa con 25"),
        ("pt-BR", "um homem, vinte e cinco", "um homem, 25"),
        ("nl", "vijfentwintig", "25"),
        ("it", "venticinque", "25"),
        ("da", "femogtyve", "25"),
        ("sv", "tjugofem", "tjugofem"),
        (None, "twenty five", "twenty five"),
    ],
)
def test_other_languages_get_their_numbers(language: str | None, heard: str, written: str) -> None:
    """In the languages that text2num reads; isolated small ones, articles among them, stay words."""
    assert said(heard, language=language, numerals=True) == written
    assert said(heard, language=language, smart_format=True) == written


@pytest.mark.parametrize(
    ("heard", "written"),
    [
        ("five milligrams", "5 mg"),
        ("fifty five milliliters of water", "55 ml of water"),
        ("five milligrams per deciliter", "5 mg/dl"),
        ("sixty two miles per hour", "62 mph"),
        ("ten square meters", "10 m²"),
        ("two point five degrees Celsius.", "2.5 °C."),
        ("five feet six inches", "5 ft 6 in"),
        ("5 kilograms", "5 kg"),
        ("a gram of gold", "a gram of gold"),
        ("five minutes", "five minutes"),
        ("five, grams", "five, grams"),
    ],
)
def test_units_are_abbreviated_behind_a_number(heard: str, written: str) -> None:
    """Only behind a number, and never those of time."""
    assert said(heard, measurements=True, smart_format=True) == written


def test_units_need_no_digits() -> None:
    """``measurements`` alone abbreviates units and leaves the numbers in words."""
    assert said("fifty five milliliters", measurements=True) == "fifty five ml"
