"""The promises that tests/chaos/mutations.py breaks are still where it looks for them."""

import pytest

from tests.chaos.mutations import MUTATIONS, ROOT, Mutation


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.promise.partition(":")[0])
def test_a_mutation_changes_one_place_of_the_code_as_it_stands(mutation: Mutation) -> None:
    assert (ROOT / mutation.file).read_text().count(mutation.old) == 1
    assert all((ROOT / test.partition("::")[0]).is_file() for test in mutation.tests)
