"""Reads a conversation as the scripted model sees it."""

import json
import re


def text_of(message):
    """The words of a message, whichever of the protocol's two forms they come in."""
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join(part.get("text", "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def context_of(messages):
    """The last context object of the conversation; empty where there is none."""
    for message in reversed(messages):
        if message.get("role") != "user":
            continue
        text = text_of(message)
        found = re.search(r"^<<<CONTEXT[ \t]*\n(.*?)\n?^CONTEXT>>>", text, re.S | re.M)
        blocks = [found.group(1)] if found else data_blocks(text)
        if blocks and not text.startswith("Result of "):
            try:
                context = json.loads(blocks[0])
            except ValueError:
                return {}
            return context if isinstance(context, dict) else {}
    return {}


def data_blocks(text):
    """The content of each block of data."""
    found = re.findall(r"^<<<DATA [^\n]*?([0-9a-f]{16})\n(.*?)^DATA \1>>>", text, re.S | re.M)
    return ["\n".join(line.removeprefix("| ") for line in body.splitlines()) for _, body in found]


def rows_in_results(messages):
    """The rows that tools returned, in the order in which they came."""
    rows = []
    for message in messages:
        text = text_of(message)
        if message.get("role") == "tool" or text.startswith("Result of "):
            for block in data_blocks(text):
                try:
                    rows += [row for row in json.loads(block).get("rows", []) if isinstance(row, dict)]
                except (ValueError, AttributeError):
                    continue
    return rows


def first(context, *names, default=""):
    """The first of these fields that holds something, also one level down."""
    places = [context] + [value for value in context.values() if isinstance(value, dict)]
    for name in names:
        for place in places:
            if place.get(name) not in (None, "", [], {}):
                return place[name]
    return default
