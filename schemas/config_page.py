"""Fills sluice.yaml.5.in: config_page.py CONFIG.md PAGE.5.in >PAGE.5

A line @TABLE HEADING@ becomes the rows of the table in CONFIG.md whose first column has that heading and that is the first after
the given section, as mdoc: one page of facts, two ways to read it. `code` becomes a literal, the third column a sentence."""

import re
import sys


def rows(page, section, heading):
    """The cells of each row of the first table in `section` whose first column is headed `heading`."""
    lines = page[page.index(f"\n## {section}\n"):].splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    table = []
    for line in lines[at + 2:]:
        if not line.startswith("|"):
            return table
        table.append([cell.strip() for cell in line.split("|")[1:-1]])
    return table


def literal(word, after):
    """`word` as mdoc, with the punctuation that stands right behind it; returns the line and what is left of `after`."""
    punctuation = re.match(r"[.,:;)]*", after).group()
    word = f'"{word}"' if " " in word else word
    return " ".join([".Ql", word, *punctuation]), after[len(punctuation):]


def prose(text):
    """Text with `code` in it as lines of mdoc, a sentence or a literal a line."""
    lines = []
    parts = text.split("`")
    for i in range(len(parts)):
        if i % 2 == 1:
            opened = bool(lines) and lines[-1].endswith("(")
            if opened:  # "(`word`": the parenthesis goes to the macro's line
                lines[-1] = lines[-1][:-1].rstrip()
                lines = [line for line in lines if line]
            line, parts[i + 1] = literal(parts[i], parts[i + 1])
            lines.append(line.replace(".Ql ", ".Ql ( ", 1) if opened else line)
            continue
        for sentence in re.split(r"(?<=[.:;]) ", parts[i].strip()):
            if sentence:
                lines.append((r"\&" if sentence[0] in ".'" else "") + sentence.replace("\\", r"\e"))
    return lines


def sentence(text):
    text = text if text.startswith("`") else text[:1].upper() + text[1:]
    return text if text.endswith(".") else text + "."


def items(table):
    lines = []
    for keys, meaning, *default in table:
        lines.append(".It Cm " + " , ".join(re.findall("`([^`]+)`", keys)))
        lines += prose(sentence(meaning))
        if default and default[0]:
            lines += prose(sentence("Default, limit: " + default[0]))
    return lines


def main(facts_path, page_path):
    with open(facts_path, encoding="utf-8") as file:
        facts = file.read()
    with open(page_path, encoding="utf-8") as file:
        for line in file:
            table = re.match(r"@(.*?): (.*)@$", line)
            print("\n".join(items(rows(facts, *table.groups()))) if table else line.rstrip("\n"))


main(*sys.argv[1:])
