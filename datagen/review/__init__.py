"""`datagen review RUN`: people listen to clips, answer the questions, and say whether each question is valid.

    run ──population──▶ every question and its fate ──drawn──▶ sample ──page──▶ review.jsonl ──report──▶ figures

A page on this machine plays the clip and shows the question; the marked answer stays hidden until one is given. Every
answer and judgement is a line of RUN/review.jsonl, on the disk before the page goes on. `report` reads them back: how
often people hear what the set says, and how often each filter dropped a good question or let a bad one through.
"""

from datagen.review.figures import report
from datagen.review.sample import drawn, population
from datagen.review.verdicts import Verdicts, opinions

__all__ = ["Verdicts", "drawn", "opinions", "population", "report"]
