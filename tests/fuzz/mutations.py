"""What happens to a file between people: bytes that are flipped, lost, doubled, misspelt or planted."""

from collections.abc import Sequence

from hypothesis import strategies as st

TOKENS: tuple[bytes, ...] = (
    *(
        b"\xef\xbb\xbf",
        b"\x00",
        b"\r",
        b"\r\n",
        b"\t",
        b" ",
        b"\n",
        b"\xff\xfe",
        b"\xc3",
        b"\x1b[31m",
        b"\x0b",
        b"\x85",
    ),
    *("\u2028".encode(), "\u00a0".encode(), "é".encode(), "一".encode(), "٣".encode(), "\U0001f35a".encode()),
    *(
        b"-1",
        b"0",
        b"9" * 30,
        b"9" * 5000,
        b"1e999",
        b"nan",
        b".inf",
        b"0x10",
        b"1_0",
        b"007",
        b"3.5",
        b"null",
        b"true",
    ),
    *(b"../", b"..\\", b"/", b"C:", b".", b"~", b"%s", b"{0}", b"${HOME}", b"'", b'"', b",", b";", b":", b": ", b"- "),
    *(b"!!python/object/apply:os.system [ls]", b"!x ", b"&a ", b"*a", b"<<: ", b"? ", b"| ", b"---\n", b"%YAML 9\n"),
    *(b"[" * 200, b"{" * 200, b"- " * 200, b"(" * 200, b"a" * 5000, b"#", b"[]", b"{}", b"[1, [2]]", b"{a: b}"),
)
OPERATIONS = ("flip", "insert", "replace", "cut", "end", "double", "swap", "drop", "blank")
Change = tuple[str, float, float, bytes]

CHANGES = st.lists(
    st.tuples(st.sampled_from(OPERATIONS), st.floats(0, 1), st.floats(0, 1), st.sampled_from(TOKENS)), max_size=4
)


def mutated(valid: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Return what makes valid files and changes them in up to four places."""
    return st.builds(mutate, valid, CHANGES)


def mutate(data: bytes, changes: Sequence[Change]) -> bytes:
    """Return data after some changes: (operation, place 0..1, another place 0..1, token)."""
    for operation, place, other, token in changes:
        start = min(int(place * len(data)), max(0, len(data) - 1))
        length = 1 + int(other * 12)
        if operation in ("double", "swap", "drop", "blank"):
            data = b"".join(_lines(data.splitlines(keepends=True), operation, place, other))
        elif operation == "flip" and data:
            data = data[:start] + bytes([data[start] ^ 1 << int(other * 7)]) + data[start + 1 :]
        elif operation == "insert":
            data = data[:start] + token + data[start:]
        elif operation == "replace":
            data = data[:start] + token + data[start + length :]
        elif operation == "cut":
            data = data[:start] + data[start + length :]
        elif operation == "end":
            data = data[:start]
    return data


def _lines(lines: list[bytes], operation: str, place: float, other: float) -> list[bytes]:
    if not lines:
        return lines
    one, two = (min(int(at * len(lines)), len(lines) - 1) for at in (place, other))
    if operation == "double":
        return [*lines[:two], lines[one], *lines[two:]]
    if operation == "swap":
        lines[one], lines[two] = lines[two], lines[one]
        return lines
    if operation == "drop":
        return lines[:one] + lines[one + 1 :]
    return [*lines[:one], b"\n", *lines[one:]]
