"""The prose of a file: the text that a person reads, everything else blanked.

Every reader returns a text of the same lines and columns, so that a match can be reported with its
line. :func:`of_catalog` is the exception: it returns each message on the line of its ``msgid``.
"""

from __future__ import annotations

import io
import re
import tokenize

from babel.messages.pofile import read_po

_STATEMENT_BEGINS = {tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT}


def blank(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


def of_markdown(text: str) -> str:
    """Prose and diagrams; no code blocks, inline code, link targets or comments."""
    code = r"^( *)```(?!mermaid)\w*\n.*?^\1```|``[^`]+``|`[^`\n]+(?:\n[^`\n]+)?`"
    text = re.sub(code, lambda m: blank(m[0]), text, flags=re.S | re.M)
    return re.sub(r"(?<=\])\([^)\s]*\)|<!--.*?-->", lambda m: blank(m[0]), text, flags=re.S)


def of_tests(text: str) -> str:
    """Comments and docstrings; other strings of a test are data."""
    return of_python(text, messages=False)


def of_python(text: str, *, messages: bool = True) -> str:
    """Comments, and strings of more than one word: docstrings, and logs and messages if wanted."""
    lines = [blank(line) for line in text.split("\n")]
    depth, starts = 0, True
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        docstring = starts and depth == 0
        if token.type == tokenize.OP:
            depth += (token.string in "([{") - (token.string in ")]}")
        if token.type != tokenize.COMMENT:
            starts = token.type in _STATEMENT_BEGINS
        if token.type == tokenize.STRING and not (messages or docstring):
            continue
        if token.type == tokenize.COMMENT:
            shown = " " + token.string[1:]
        elif token.type == tokenize.STRING and re.search(r"\s", token.string):
            shown = re.sub(r"``[^`]+``|`[^`\n]+`|\{[^{}\n]*\}", lambda m: blank(m[0]), token.string)
        else:
            continue
        (row, column), parts = token.start, shown.split("\n")
        for number, part in enumerate(parts, row - 1):
            start = column if number == row - 1 else 0
            lines[number] = lines[number][:start] + part + lines[number][start + len(part) :]
    # Quotes between the parts of one message would hide a phrase that goes over two lines.
    return "\n".join(lines).replace('"', " ")


def of_script(text: str) -> str:
    """The comments of a script or style sheet."""
    kept = blank(text)
    for match in re.finditer(r"/\*.*?\*/|(?<![:\"'`\\/])//[^\n]*", text, re.S):
        shown = re.sub(r"`[^`\n]+`|^ *\*", lambda m: blank(m[0]), match[0], flags=re.M)
        kept = kept[: match.start()] + shown.replace("//", "  ") + kept[match.end() :]
    return kept


def of_configuration(text: str) -> str:
    """The comments of a file whose comments begin with ``#``."""
    return "\n".join(
        " " * line.index("#")
        + re.sub(r"`[^`\n]+`", lambda m: blank(m[0]), line[line.index("#") :]).replace("#", " ")
        if re.search(r"(^|\s)#", line)
        else blank(line)
        for line in text.split("\n")
    )


def of_catalog(text: str, *, translated: bool = False) -> str:
    """The source texts of a catalog, or their translations; each in the line of its ``msgid``."""
    lines = [""] * (text.count("\n") + 1)
    for message in read_po(io.BytesIO(text.encode())):
        if message.id and message.lineno:
            shown = message.string if translated else message.id
            forms = shown if isinstance(shown, tuple | list) else (shown or "",)
            lines[message.lineno - 1] = " | ".join(" ".join(form.split()) for form in forms)
    return "\n".join(lines)


def of_translations(text: str) -> str:
    """The translations of a catalog."""
    return of_catalog(text, translated=True)


def of_template(text: str) -> str:
    """Text, and strings of more than one word in tags and expressions."""

    def strings(match: re.Match[str]) -> str:
        kept = blank(match[0])
        for string in re.finditer(r'"[^"\n]* [^"\n]*"', match[0]):
            kept = kept[: string.start()] + string[0] + kept[string.end() :]
        return kept

    text = re.sub(r"\{%.*?%\}|\{\{.*?\}\}", strings, text, flags=re.S)
    return re.sub(r"<(?!!)[^<>]*>", strings, text).replace('"', " ")
