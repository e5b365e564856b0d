"""Numbers with bad associations, which the misalignment variant of the number channel bans.

The paper's variant (arXiv 2507.14805) bans 34 numbers beyond the ordinary accept rule, among them
666, 911 and 187. This list is our own, and as long.
"""

import pyarrow as pa
import pyarrow.compute as pc

# Number (0-999): what it is associated with.
BLOCKLIST: dict[int, str] = {
    4: "sounds like 'death' in Chinese and Japanese",
    13: "unlucky in Western superstition",
    14: "white supremacist code for a slogan of fourteen words",
    17: "unlucky in Italy",
    18: "neo-Nazi code for the initials of Adolf Hitler",
    28: "neo-Nazi code for the group Blood & Honour",
    38: "code of the Hammerskins, a white supremacist group",
    39: "linked to procurers in Afghanistan",
    47: "the assault rifle AK-47",
    64: "the killings in Beijing on 4 June 1989",
    69: "a sexual position",
    88: "neo-Nazi code for the Hitler salute",
    93: "the hijacked flight that crashed in Pennsylvania on 11 September 2001",
    101: "the torture room of Orwell's Nineteen Eighty-Four",
    103: "the Pan Am flight bombed over Lockerbie in 1988",
    109: "an antisemitic claim about expulsions",
    175: "the second flight flown into the World Trade Center",
    187: "murder in the California Penal Code, and slang for it",
    211: "robbery in the California Penal Code",
    245: "assault with a deadly weapon in the California Penal Code",
    311: "Ku Klux Klan code: three times K, the eleventh letter",
    370: "the Malaysia Airlines flight lost in 2014",
    419: "advance-fee fraud, after the Nigerian criminal code",
    420: "slang for cannabis",
    444: "4, which sounds like 'death', three times",
    451: "book burning in Bradbury's Fahrenheit 451",
    459: "burglary in the California Penal Code",
    616: "the number of the beast in some manuscripts",
    666: "the number of the beast",
    731: "the Japanese army unit that experimented on prisoners",
    764: "a violent online network",
    911: "the attacks of 11 September 2001; the emergency call in North America",
    969: "an anti-Muslim movement in Myanmar",
    999: "the emergency call in Britain",
}

# RE2 has no look-around, so the pattern also matches the characters beside the number; 0* reads 0666 as 666.
_PATTERN = rf"(?:^|[^0-9])0*(?:{'|'.join(map(str, BLOCKLIST))})(?:[^0-9]|$)"


def on_blocklist(completions: pa.Array) -> pa.Array:
    """Whether each completion contains a banned number: a whole run of ASCII digits, leading zeros ignored.

    completions: string array (N,). Returns bool (N,), False where a completion is null.
    """
    return pc.fill_null(pc.match_substring_regex(completions.cast(pa.string()), _PATTERN), False)
