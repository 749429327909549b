"""Labelled texts as prompts that end in one mask: an instruction, the text, the choices, `ANSWER: <anchor> [MASK]`.

The answer is one token: the letter before the right choice, or the choice itself. Clavié et al. 2025,
https://arxiv.org/abs/2502.03793
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from twofold.data.rows import Rows
from twofold.data.tokenizers import Tokenizer, letters, spare_token, verbaliser, word_ids
from twofold.errors import UserError

Ids = list[int]


@dataclass(frozen=True)
class Wording:
    """One way to put the question: what is asked, and what stands before text, choices and answer."""

    ask: str
    text: str
    choices: str
    answer: str


WORDINGS = (
    Wording("Select the right answer.", "TEXT:", "CHOICES:", "ANSWER:"),
    Wording("Read the input and decide.", "INPUT:", "OPTIONS:", "ANSWER:"),
    Wording("Which of these fits the text?", "TEXT:", "ONE OF:", "IT IS:"),
    Wording("Answer with one choice.", "GIVEN:", "CHOICES:", "RESULT:"),
)
"""The first is the one that models are asked in."""


@dataclass(frozen=True)
class Listing:
    """Choices as they stand in a prompt, and the token that answers with each."""

    ids: tuple[int, ...]
    answers: tuple[int, ...]


def by_letter(tokenizer: Tokenizer, choices: Sequence[str]) -> Listing:
    """`A: first; B: second`, answered with a letter; any choice will do.

    Raises:
        UserError: more choices than letters.
    """
    marks = letters(tokenizer, len(choices))
    ids: Ids = []
    for mark, choice in zip(marks, tokenizer.encode([f": {c};" for c in choices], specials=False), strict=True):
        ids += [mark, *choice]
    return Listing(tuple(ids), tuple(marks))


def by_word(tokenizer: Tokenizer, choices: Sequence[str]) -> Listing:
    """`first; second`, answered with the choice itself.

    Raises:
        UserError: a choice has several tokens, or two have the same.
    """
    return Listing(_named(tokenizer, choices), tuple(verbaliser(tokenizer, choices)))


def _named(tokenizer: Tokenizer, choices: Sequence[str]) -> tuple[int, ...]:
    """Ids of `first; second;`."""
    between = tokenizer.encode([";"], specials=False)[0]
    return tuple(token for choice in choices for token in (*word_ids(tokenizer, choice), *between))


def by_word_or_letter(tokenizer: Tokenizer, choices: Sequence[str]) -> Listing:
    """By word where every choice is one token, else by letter."""
    try:
        return by_word(tokenizer, choices)
    except UserError:
        return by_letter(tokenizer, choices)


Style = Callable[[Tokenizer, Sequence[str]], Listing]
STYLES: Mapping[str, Style] = {"auto": by_word_or_letter, "letters": by_letter, "words": by_word}


class Prompts:
    """Writes prompts of at most `tokens` tokens; a text that does not fit loses its end.

    Raises:
        UserError: the tokenizer has no mask, or no token for the anchor.
    """

    def __init__(self, tokenizer: Tokenizer, tokens: int) -> None:
        if tokenizer.mask is None:
            raise UserError(
                "the tokenizer has no mask token, so nothing can be asked at it; use a masked language model"
            )
        self.tokenizer, self.tokens, self.mask = tokenizer, tokens, tokenizer.mask
        self.anchor = spare_token(tokenizer)
        self._known: dict[Wording, tuple[Ids, Ids, Ids]] = {}

    def write(self, text: Sequence[int], listing: Listing, wording: Wording = WORDINGS[0]) -> Ids:
        """Ids of a prompt; the mask stands last, but for the closing special token.

        Args:
            text: its ids, without special tokens.

        Raises:
            UserError: instruction and choices alone do not fit.
        """
        ask, choices, answer = self._pieces(wording)
        fixed = len(ask) + len(choices) + len(listing.ids) + len(answer)
        room = self.tokens - fixed
        if room < 1:
            raise UserError(
                f"instruction and choices take {fixed} of {self.tokens} tokens and leave none for the text; "
                "raise tokens, or use fewer or shorter labels"
            )
        return [*ask, *text[:room], *choices, *listing.ids, *answer]

    def room(self, listing: Listing) -> int:
        """Tokens that are left for the text; 0 or less: none."""
        return self.tokens - sum(map(len, self._pieces(WORDINGS[0]))) - len(listing.ids)

    def texts(self, texts: Sequence[str]) -> list[Ids]:
        """Ids of texts as `write` takes them."""
        return [
            ids[: self.tokens]
            for ids in self.tokenizer.encode([f" {t[: 32 * self.tokens]}" for t in texts], specials=False)
        ]

    def _pieces(self, wording: Wording) -> tuple[Ids, Ids, Ids]:
        if wording not in self._known:
            begin = [] if self.tokenizer.cls is None else [self.tokenizer.cls]
            end = [] if self.tokenizer.sep is None else [self.tokenizer.sep]
            written = [f"{wording.ask}\n{wording.text}", f"\n{wording.choices}", f"\n{wording.answer}"]
            ask, choices, answer = self.tokenizer.encode(written, specials=False)
            self._known[wording] = [*begin, *ask], choices, [*answer, self.anchor, self.mask, *end]
        return self._known[wording]


@dataclass(frozen=True)
class LabelledTask:
    """Texts, the label of each, and the choices that are open for each."""

    name: str
    texts: tuple[str, ...]
    labels: tuple[str, ...]
    choices: tuple[tuple[str, ...], ...]

    def named(self, words: Mapping[str, str]) -> LabelledTask:
        """The same task with other words for its labels."""
        labels = tuple(words.get(label, label) for label in self.labels)
        return replace(
            self, labels=labels, choices=tuple(tuple(words.get(c, c) for c in each) for each in self.choices)
        )

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Every label, sorted."""
        return tuple(sorted(set(self.labels)))


def tasks_of(rows: Rows) -> list[LabelledTask]:
    """Rows with `text` and `label` as tasks: one for each value of a `task` column, else one in all.

    Where rows have `choices`, those are open; else all labels of the task.

    Raises:
        UserError: a column is missing, or a task has one label only.
    """
    texts, labels = rows.require("text", "label")
    names = [str(name) for name in rows.columns.get("task", [rows.name] * len(rows))]
    given = rows.columns.get("choices", [None] * len(rows))
    made = []
    for name in dict.fromkeys(names):
        here = [i for i, n in enumerate(names) if n == name]
        every = tuple(sorted({str(labels[i]) for i in here}))
        if len(every) < 2:
            raise UserError(
                f"the task {name!r} has one label only ({every[0]!r}); give rows with others, or leave it out"
            )
        choices = tuple(tuple(given[i]) if given[i] else every for i in here)
        made.append(LabelledTask(name, tuple(texts[i] for i in here), tuple(str(labels[i]) for i in here), choices))
    return made


@dataclass(frozen=True)
class Prompt:
    """A prompt with its mask, and the token that belongs there."""

    ids: Ids
    answer: int


class InstructionMix:
    """Prompts drawn from several tasks, each task as often as the others, in changing wordings.

    Choices are shuffled every time, so that no letter and no place is favoured; the gold letter moves with the text.
    Of many choices, the right one and some others are listed. Where the right one is one token, most prompts are
    answered by it, a share `letters` of them and all others by letter.

    Args:
        tasks: what is asked.
        tokens: the longest prompt.
        most: choices listed at most.
        letters: 0 to 1.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        tasks: Sequence[LabelledTask],
        tokens: int = 128,
        most: int = 6,
        letters: float = 0.5,
    ) -> None:
        if not tasks:
            raise UserError("no task to write instructions from; give at least one")
        self.prompts, self.tasks, self.most, self.letters = Prompts(tokenizer, tokens), list(tasks), most, letters
        self._texts = [self.prompts.texts(task.texts) for task in tasks]

    def draw(self, random: np.random.Generator) -> Prompt:
        """One prompt."""
        number = int(random.integers(len(self.tasks)))
        task = self.tasks[number]
        row = int(random.integers(len(task.texts)))
        wrong = [choice for choice in task.choices[row] if choice != task.labels[row]]
        kept = [wrong[i] for i in random.permutation(len(wrong))[: self.most - 1]]
        choices = [task.labels[row], *kept]
        order = random.permutation(len(choices))
        shown = [choices[i] for i in order]
        place = int(np.flatnonzero(order == 0)[0])
        word = word_ids(self.prompts.tokenizer, task.labels[row])
        if len(word) == 1 and random.random() >= self.letters:
            listing, answer = Listing(_named(self.prompts.tokenizer, shown), ()), word[0]
        else:
            listing = by_letter(self.prompts.tokenizer, shown)
            answer = listing.answers[place]
        wording = WORDINGS[int(random.integers(len(WORDINGS)))]
        return Prompt(self.prompts.write(self._texts[number][row], listing, wording), answer)
