"""Every command: what it is called, what it says of itself, and what runs it."""

from __future__ import annotations

from twofold.cli import arguments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from twofold.cli.parser import Parser

GROUPS = ("look", "do", "use", "measure", "keep")

_AGAIN = "the same command goes on from there"


class Command:
    """One command: its arguments, and the function that runs it, as `module:function`.

    Args:
        name: as typed.
        group: under which it stands in the help.
        summary: what it does, in one line.
        examples: command lines without `twofold`.
        arguments: adds the arguments to a parser.
        run: takes the parsed arguments and gives an exit code or None; its module is loaded only then.
        kept: what Ctrl-C leaves behind, as a sentence; `{out}` and the like are filled in.
    """

    def __init__(
        self,
        name: str,
        group: str,
        summary: str,
        examples: Sequence[str],
        arguments: Callable[[Parser], None],
        run: str,
        kept: str = "nothing was written",
    ) -> None:
        self.name, self.group, self.summary, self.examples = name, group, summary, examples
        self.arguments, self.run, self.kept = arguments, run, kept


_ALL = (
    Command(
        "list",
        "look",
        "every system, by family, with its verdict",
        ("list", "list --task search --kind model"),
        arguments.list_,
        "twofold.cli.looking:list_",
    ),
    Command(
        "find",
        "look",
        "systems for a need, said in your own words",
        ('find "shrink a BERT without labels"', "find search by meaning --semantic"),
        arguments.find,
        "twofold.cli.looking:find",
    ),
    Command(
        "show",
        "look",
        "the card of a system: options, claim, verdict",
        ("show gtr", "show ./mine.py:Mine"),
        arguments.show,
        "twofold.cli.looking:show",
    ),
    Command("cite", "look", "sources as BibTeX", ("cite gtr stat",), arguments.cite, "twofold.cli.looking:cite"),
    Command(
        "fit",
        "do",
        "train a system on data",
        ("fit gtr", "fit gtr my.jsonl -o model/ --set temperature=0.02 --minutes 10"),
        arguments.fit,
        "twofold.cli.doing:fit",
        kept=f"what was trained is kept beside {{out}}; {_AGAIN}",
    ),
    Command(
        "apply",
        "do",
        "change a trained model: make it smaller, faster, other",
        ("apply stat minilm -o small/ --set keep=0.7", "apply stat,kcm model/ my.jsonl --set stat.keep=0.6"),
        arguments.apply,
        "twofold.cli.doing:apply",
    ),
    Command(
        "study",
        "do",
        "measure or explain, and report",
        ("study nope --set tasks=copy,sort -o report/", "study lowrank-ffn my.txt --set sizes=48,64,96"),
        arguments.study,
        "twofold.cli.doing:study",
    ),
    Command(
        "index",
        "do",
        "make documents searchable by a model; add to them, take some out",
        (
            "index docs/ -m model/ -o index/",
            "index more.jsonl -o index/ --add",
            "index -o index/ --remove guide.md,old.md",
            "index docs/ -m model/ -o docs --engine qdrant://localhost:6333",
        ),
        arguments.index,
        "twofold.cli.indexing:index",
        kept="the index is as it was before",
    ),
    Command(
        "search",
        "use",
        "the documents that answer a query",
        (
            'search index/ "read a csv file" --rerank reader/',
            'search out/best "read a csv file"',
            "search model/ queries.txt -o found.jsonl",
        ),
        arguments.search,
        "twofold.cli.using:search",
    ),
    Command(
        "predict",
        "use",
        "the class, labels or number of texts or images, or of every pixel",
        ('predict model/ "my card was stolen"', "predict model/ in.csv -o out.csv", "predict model/ pictures/"),
        arguments.predict,
        "twofold.cli.predicting:predict",
    ),
    Command(
        "encode",
        "use",
        "texts as vectors",
        ("encode model/ texts.txt -o vectors.npy",),
        arguments.encode,
        "twofold.cli.using:encode",
    ),
    Command(
        "score",
        "use",
        "how well a query and a document fit, or how likely a text is",
        ('score model/ "open a file" "def load(path): …"', "score smollm2 texts.txt -o scores.csv"),
        arguments.score,
        "twofold.cli.using:score",
    ),
    Command(
        "generate",
        "use",
        "how a text goes on",
        ('generate smollm2 "Once upon" --tokens 40 --temperature 0.7',),
        arguments.generate,
        "twofold.cli.using:generate",
    ),
    Command(
        "recommend",
        "use",
        "what comes next, for a user or after some items",
        ("recommend out/best 17", "recommend out/best 260,1196,1210 -k 5"),
        arguments.recommend,
        "twofold.cli.recommending:recommend",
    ),
    Command(
        "compare",
        "measure",
        "every system of a task, side by side, on your data",
        ("compare search", 'compare search my.jsonl --systems "bm25,gtr,gtr(temperature=0.1)" --minutes 10'),
        arguments.compare,
        "twofold.cli.measuring:compare",
        kept=f"what was done is kept in {{out}}; {_AGAIN}",
    ),
    Command(
        "evaluate",
        "measure",
        "the figures of one model on your data",
        ("evaluate model/ my.jsonl", "evaluate index/ --queries queries.tsv --qrels qrels.txt"),
        arguments.evaluate,
        "twofold.cli.measuring:evaluate",
    ),
    Command(
        "reproduce",
        "measure",
        "a published claim, measured again",
        ("reproduce gtr --seeds 5", "reproduce --pending --jobs 2"),
        arguments.reproduce,
        "twofold.cli.measuring:reproduce",
        kept=f"finished runs are kept; {_AGAIN}",
    ),
    Command(
        "pull",
        "keep",
        "fetch a pretrained checkpoint, once",
        ("pull minilm",),
        arguments.pull,
        "twofold.cli.keeping:pull",
        kept="nothing is kept of what was not complete",
    ),
    Command(
        "export",
        "keep",
        "write a model for other programs",
        ("export small/ --to hf -o small-hf",),
        arguments.export,
        "twofold.cli.keeping:export",
    ),
    Command(
        "cache",
        "keep",
        "what is kept between runs, and where",
        ("cache", "cache clear minilm"),
        arguments.cache,
        "twofold.cli.keeping:cache",
    ),
)

COMMANDS = {command.name: command for command in _ALL}


def overview() -> str:
    """The help of `twofold` itself: every command in its group."""
    lines = ["Twofold: published ways to encode and decode, compared on your own data.", ""]
    lines += ["usage: twofold COMMAND …", ""]
    for group in GROUPS:
        lines.append(group.capitalize())
        lines += [f"  {c.name:<11}{c.summary}" for c in _ALL if c.group == group]
        lines.append("")
    lines += ["twofold COMMAND --help says more. Begin with: twofold compare search"]
    return "\n".join(lines)
