"""The chat's bot: a text generator that fits on a page. A client of a real model goes where `tokens` is.

It is a Markov chain: after two words comes one that has followed them in the text below. What it says is grammatical,
nearly, and true by accident.
"""

import asyncio
import functools
import os
import random
import re
from collections.abc import AsyncIterator

TOKEN_SECONDS = float(os.environ.get("EXAMPLE_TOKEN_SECONDS", "0.06"))
LONGEST_ANSWER = 60  # tokens

TEXT = """
A stream is a response that begins before it is finished. A response that begins before it is finished feels fast. A
page feels fast when its first part is on the screen before its last part exists. The first part of a page is the part
that the reader waits for. A function on Lambda runs for one request at a time. A function that streams is busy until
its stream ends. A stream that nobody reads is still billed until its end. So a stream should be short and the reader
should come back for more. A reader who comes back says which message was the last one. A message that is in the store
is never lost. A store is where messages live when no function runs. A function has no memory of its own that another
function sees. Two functions that want to talk need a store between them. The store is a table on AWS and a file on
your machine. The file on your machine is as good as the table until two machines want to talk. A model writes one
token at a time. A token that is sent at once is a token that the reader can read while the model thinks. A model
thinks for as long as you let it. The deadline of a function is fifteen minutes at most. A function that reaches its
deadline is told to stop and then it is stopped. A cold start is the time that a function needs before its first
request. A function that imports little has a short cold start. A short cold start is the best cold start after none
at all. None of this needs a server of your own. A server of your own needs you at night. Lambda sleeps when nobody
asks and costs nothing while it sleeps.
"""


@functools.cache
def _chain() -> dict[tuple[str, str], list[str]]:
    words = TEXT.split()
    chain: dict[tuple[str, str], list[str]] = {}
    for first, second, third in zip(words, words[1:], words[2:], strict=False):
        chain.setdefault((first, second), []).append(third)
    return chain


def _words(prompt: str, chooser: random.Random) -> list[str]:
    """An answer's words; it begins with a sentence that has a word of the prompt, if there is one."""
    asked = set(re.findall(r"\w{4,}", prompt.lower()))
    sentences = [sentence.split() for sentence in re.split(r"(?<=\.)\s+", TEXT.strip())]
    fitting = [words for words in sentences if asked & {word.lower().strip(".") for word in words}]
    words = chooser.choice(fitting or sentences)[:2]
    while len(words) < LONGEST_ANSWER:
        following = _chain().get((words[-2], words[-1]))
        if following is None or (len(words) > LONGEST_ANSWER // 2 and words[-1].endswith(".")):
            break
        words.append(chooser.choice(following))
    return words


async def tokens(prompt: str) -> AsyncIterator[str]:
    """The answer to a prompt, token by token. Put the streaming call of a model's client here."""
    for number, word in enumerate(_words(prompt, random.Random())):  # noqa: S311 - no secret
        await asyncio.sleep(TOKEN_SECONDS)
        yield word if number == 0 else f" {word}"
