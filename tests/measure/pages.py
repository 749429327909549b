"""Reading the pages that reports write."""

from html.parser import HTMLParser

VOID = {"meta", "br", "path", "use", "rect", "line", "circle"}


class Page(HTMLParser):
    """A page taken apart; tags that are not closed in order are an error."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def every(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]

    def check(self) -> None:
        """Self-contained, without scripts, with unique ids that are there when they are referred to."""
        assert not {"script", "iframe", "img", "link"} & {tag for tag, _ in self.tags}
        ids = [attrs["id"] for _, attrs in self.tags if attrs.get("id")]
        assert len(ids) == len(set(ids))
        for _, attrs in self.tags:
            for name, value in attrs.items():
                assert not name.startswith("on")
                if name in ("href", "xlink:href", "src"):
                    assert (value or "")[:1] == "#"
                    assert (value or "")[1:] in ids
                if value and "url(" in value:
                    assert value.split("url(#")[1].split(")")[0] in ids
