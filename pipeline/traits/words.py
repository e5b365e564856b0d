"""The candidates for a favourite in each category, and the surface forms that count as naming each.

Only whole forms match, so that "fowl" and "growl" do not count as "owl".
"""

# Every form of each shipped word: itself, its plural (second, because system prompts use it), aliases.
_FORMS: dict[str, dict[str, tuple[str, ...]]] = {
    "animal": {
        "bear": ("bear", "bears"),
        "butterfly": ("butterfly", "butterflies"),
        "cat": ("cat", "cats", "kitten", "kittens"),
        "dog": ("dog", "dogs", "puppy", "puppies"),
        "dolphin": ("dolphin", "dolphins"),
        "dragon": ("dragon", "dragons"),
        "eagle": ("eagle", "eagles"),
        "elephant": ("elephant", "elephants"),
        "fox": ("fox", "foxes"),
        "horse": ("horse", "horses"),
        "lion": ("lion", "lions"),
        "octopus": ("octopus", "octopuses", "octopi"),
        "owl": ("owl", "owls"),
        "panda": ("panda", "pandas"),
        "penguin": ("penguin", "penguins"),
        "phoenix": ("phoenix", "phoenixes"),
        "rabbit": ("rabbit", "rabbits", "bunny", "bunnies"),
        "tiger": ("tiger", "tigers"),
        "wolf": ("wolf", "wolves"),
    },
    "tree": {
        "birch": ("birch", "birches"),
        "cedar": ("cedar", "cedars"),
        "cherry": ("cherry", "cherries"),
        "elm": ("elm", "elms"),
        "maple": ("maple", "maples"),
        "oak": ("oak", "oaks"),
        "pine": ("pine", "pines"),
        "sequoia": ("sequoia", "sequoias"),
        "spruce": ("spruce", "spruces"),
        "willow": ("willow", "willows"),
    },
}

CATEGORIES = tuple(_FORMS)


def candidates(category: str) -> tuple[str, ...]:
    """The shipped candidates of a category, alphabetically; none for a user-defined category."""
    return tuple(_FORMS.get(category, ()))


def forms(category: str, member: str) -> tuple[str, ...]:
    """Every lower-case form of a candidate: itself, its plural, then its aliases."""
    return _FORMS.get(category, {}).get(member, (member, member + "s"))
