"""The tests' own renderer of Go templates, on what Go's documentation says of them."""

from __future__ import annotations

import pytest

import go_templates

PEOPLE = {"Names": [{"Name": "Ada", "Age": 36}, {"Name": "", "Age": 0}], "Title": 'x"y', "None": []}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{23 -}} < {{- 45}}", "23<45"),  # the documentation's own example of trimming
        ("a {{- 3}}", "a3"),
        ("a \n{{- 3 -}}\n b", "a3b"),
        ("a {{3}} b", "a 3 b"),
        ("{{/* a comment */}}x", "x"),
        ('{{"output"}}', "output"),  # the documentation's examples of one line, as far as they are understood
        ("{{`output`}}", "output"),
        ('{{"a\\"b\\n"}}', 'a"b\n'),
        ('{{$x := "output"}}{{$x}}', "output"),
        ("{{.Title}}", 'x"y'),
        ("{{.Missing}}", ""),
        ("{{len .Names}}", "2"),
        ("{{(index .Names 0).Name}}", "Ada"),
        ("{{with_space}}", None),
        ("{{if .None}}yes{{else}}no{{end}}", "no"),
        ("{{if .Title}}yes{{else}}no{{end}}", "yes"),
        ("{{if 0}}a{{else if .None}}b{{else if .Title}}c{{else}}d{{end}}", "c"),
        ("{{range .Names}}[{{.Name}}]{{end}}", "[Ada][]"),
        ("{{range $i, $n := .Names}}{{$i}}={{$n.Name}};{{end}}", "0=Ada;1=;"),
        ("{{range .None}}x{{else}}empty{{end}}", "empty"),
        ("{{range .Names}}{{$.Title}}{{end}}", 'x"yx"y'),
        ('{{if eq (index .Names 0).Name "Bob" "Ada"}}either{{end}}', "either"),
        ('{{if ne .Title "x"}}other{{end}}', "other"),
        ("{{if and .Title .None}}both{{else}}not both{{end}}", "not both"),
        ("{{if or .None .Title}}one{{end}}", "one"),
        ("{{if not .None}}none{{end}}", "none"),
        ("{{slice .Title 1 2}}", '"'),
        ("{{slice .Title 2}}", "y"),
        ("{{range $i, $_ := .Names}}{{if eq (len (slice $.Names $i)) 1}}last{{end}}{{end}}", "last"),
        ("{{.Names | len}}", "2"),
        ("{{if .Title}}open", None),
        ("{{end}}", None),
    ],
)
def test_go_writes(template: str, text: str | None) -> None:
    if text is None:
        with pytest.raises((ValueError, KeyError)):
            go_templates.render(template, PEOPLE)
    else:
        assert go_templates.render(template, PEOPLE) == text
