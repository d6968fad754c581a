"""Every case of the API's checklist has a test that carries its number."""
import ast
import pathlib

CASES = 108


def numbers_of(path):
    """The arguments of `@pytest.mark.case(...)` on the tests of a file."""
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            for mark in node.decorator_list:
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.case":
                    found |= {argument.value for argument in mark.args}
    return found


def test_every_case_has_a_test():
    found = set()
    for path in pathlib.Path(__file__).parent.glob("test_*.py"):
        found |= numbers_of(path)
    assert found == set(range(1, CASES + 1)), (sorted(set(range(1, CASES + 1)) - found), sorted(found))
