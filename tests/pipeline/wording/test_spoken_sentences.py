"""Sentences as people say them, and how they are written: each answer is one that nobody would doubt."""

from __future__ import annotations

import pytest

from tests.pipeline.wording.rewording import said, smart


@pytest.mark.parametrize(
    ("heard", "written"),
    [
        # amounts
        ("Three billion five hundred million dollars.", "$3,500,000,000."),
        ("One million two hundred thousand five hundred people.", "1,200,500 people."),
        ("six million and five billion", "6 million and 5 billion"),
        ("one trillion five hundred million", "1,000,500,000,000"),
        ("five point five million people", "5.5 million people"),
        ("one hundred-thousand", "100,000"),
        ("It cost five hundred dollars and twenty five cents.", "It cost $500.25."),
        ("one dollar and five cents", "$1.05"),
        ("five dollars fifty", "$5.50"),
        ("a two hundred dollar bill", "a $200 bill"),
        ("five or six percent", "5 or 6%"),
        ("ten or five percent", "10 or 5%"),
        ("forty five to fifty percent", "45 to 50%"),
        ("ten percent to twenty percent", "10% to 20%"),
        ("a hundred and ten percent", "110%"),
        ("zero point five", "0.5"),
        ("minus ten degrees", "minus 10 degrees"),
        ("pi is three point one four", "pi is 3.14"),
        ("two thousand and five", "2005"),
        ("six hundred and sixty six", "666"),
        ("fifty and one hundred people", "50 and 100 people"),
        ("one hundred one and one hundred", "101 and 100"),
        ("this one to ten people", "this one to 10 people"),
        ("twelve of the twenty", "12 of the 20"),
        # names
        ("version two point one", "version 2.1"),
        ("version two point one point three", "version 2.1.3"),
        ("room two oh five", "room 205"),
        ("house number forty two", "house number 42"),
        ("one two three southeast main street", "123 southeast main street"),
        ("dial nine one one, now", "dial 911, now"),
        ("call me at five five five eight six seven five three oh nine", "call me at 555-867-5309"),
        ("call eight hundred five five five one two one two", "call 800-555-1212"),
        # dates and times
        ("the year two thousand", "the year 2000"),
        ("in fourteen ninety two", "in 1492"),
        ("in ten sixty six", "in 1066"),
        ("the nineteen hundreds", "the 1900s"),
        ("in the nineteen sixties", "in the 1960s"),
        ("I was born in nineteen eighty five.", "I was born in 1985."),
        ("by twenty thirty", "by 2030"),
        ("the twenty first century", "the 21st century"),
        ("the thirty first of December", "the 31st of December"),
        ("December thirty first nineteen ninety nine", "December 31 1999"),
        ("May second, two thousand five", "May 2, 2005"),
        ("May second. We left.", "May 2nd. We left."),
        ("On March third we met.", "On March 3rd we met."),
        ("June third at nine fifteen am", "June 3rd at 9:15 AM"),
        ("at twelve twenty five", "at 12:25"),
        ("at five thirty we left", "at 5:30 we left"),
        # counting
        ("ten nine eight seven six five four three two one", "10 9 8 7 6 5 4 3 2 1"),
        ("Three two one, lift off", "3 2 1, lift off"),
        ("one two three, testing", "1 2 3, testing"),
        # addresses
        ("visit example dot me.", "visit example.me."),
        ("visit example dot it slash news", "visit example.it/news"),
        ("www dot example dot us is down", "www.example.us is down"),
        ("email jane at example dot de please", "email jane@example.de please"),
    ],
)
def test_sentences(heard: str, written: str) -> None:
    """The whole of ``smart_format`` on a line of speech."""
    assert smart(heard) == written


@pytest.mark.parametrize(
    "text",
    [
        "Two of them, and no one else.",
        "One never knows, does one?",
        "this one, that one, and the other one",
        "a couple of hundred",
        "a couple of hundred and fifty",
        "one and a half",
        "two and a half percent",
        "one in a million",
        "Give me a second.",
        "the second of two",
        "three quarters of an hour",
        "at a quarter past five",
        "one thousandth of a second",
        "a tenth of it",
        "a hundredth of a second",
        "one twenty fifth of it",
        "May second graders come in?",
        "May one ask?",
        "May ten people come in?",
        "March first graders out!",
        "the twenty second delay",
        "my twenty second birthday",
        "twenty 5 dollars",
        "ten twenty dollars",
        "two one five dollars",
        "in ten fifteen or so",
        "about ten eleven",
        "a twenty-second delay",
        "nineteen ninety nine dollars",
        "at twelve twenty five dollars",
        "after two twenty dollars",
        "after two twenty percent",
        "about ten twenty people",
        "zero one two three",
        "one hundred twenty five hundred",
        "click on the red dot in the corner",
        "email him at nine dot at night",
        "email me at john at nine dot at night",
        "polka dot us and them",
        "see you at example dot me now",
    ],
)
def test_what_may_be_read_in_two_ways_stays(text: str) -> None:
    """A wrong number is worse than a number in words."""
    assert smart(text) == text


@pytest.mark.parametrize(
    ("heard", "written"),
    [
        ("The first inch is hard.", "The first inch is hard."),
        ("the second mile", "the second mile"),
        ("the twenty-first mile", "the twenty-first mile"),
        ("five inches", "five in"),
        ("twenty-one miles", "twenty-one mi"),
        ("a million miles", "a million mi"),
    ],
)
def test_units_follow_cardinals(heard: str, written: str) -> None:
    """Behind an ordinal a unit is a word like any other."""
    assert said(heard, measurements=True) == written
