"""What a compression run has to show: one self-contained HTML page, or Markdown for a terminal."""

from sottovoce.report.markdown import render_markdown
from sottovoce.report.page import render
from sottovoce.report.story import Example, Story

__all__ = ["Example", "Story", "render", "render_markdown"]
