"""Language models of word sequences that back off: read, limited to some words, and made smaller."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sottovoce.errors import DataError

START, END = "<s>", "</s>"
MAGIC = b"Trie Language Model"
BASE = 1.0001                        # of the logarithms in the file
BITS, BINS = 16, 1 << 16             # of a quantized probability or backoff
LEFT = 1e-6                          # of probability at least, for words that were not seen after others
UNIGRAM = np.dtype([("log_p", "<f4"), ("backoff", "<f4"), ("next", "<u4")])

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Order:
    """The n-grams of one length, in rising order of their words."""

    codes: Codes                     # [n-grams, words], in the order in which they are said
    log_p: Floats                    # [n-grams], natural, of the last word after the others
    backoff: Floats                  # [n-grams], natural, for a word that was not seen after them

    def taken(self, keep: NDArray[Any]) -> "Order":
        """Those n-grams, by places or a mask."""
        return Order(self.codes[keep], self.log_p[keep], self.backoff[keep])


@dataclass(frozen=True)
class Ngrams:
    """A trigram model. The codes are places in `words`, and the unigrams are all of them."""

    words: tuple[str, ...]
    orders: tuple[Order, Order, Order]

    def places(self, codes: Codes) -> tuple[Codes, NDArray[np.bool_]]:
        """Where n-grams [any, words] stand in their order, and whether they do."""
        keys, wanted = self._keys(self.orders[codes.shape[1] - 1].codes), self._keys(codes)
        at = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
        return at, keys[at] == wanted if len(keys) else np.zeros(len(wanted), bool)

    def log_p(self, codes: Codes) -> Floats:
        """Log probability of the last word after the others, of any n-grams [any, words] of up to three words."""
        order = self.orders[codes.shape[1] - 1]
        if codes.shape[1] == 1:
            return order.log_p[codes[:, 0]]
        at, known = self.places(codes)
        found = self.backoff(codes[:, :-1]) + self.log_p(codes[:, 1:])
        found[known] = order.log_p[at[known]]
        return found

    def backoff(self, codes: Codes) -> Floats:
        """Log weight of backing off from these words [any, words]; 0 of those that were not seen."""
        at, known = self.places(codes)
        found = np.zeros(len(codes))
        found[known] = self.orders[codes.shape[1] - 1].backoff[at[known]]
        return found

    def _keys(self, codes: Codes) -> Codes:
        return codes @ len(self.words) ** np.arange(codes.shape[1])[::-1]


def read_ngrams(path: Path) -> Ngrams:
    """The trigram model of a binary file of pocketsphinx. Raises DataError for any other file.

    In it are the values that 16 bits stand for, the unigrams, bigrams and trigrams as packed bits, and the words.
    Bigrams lie under their last words and trigrams under the bigrams that they end with, each with the word before.
    """
    try:
        raw = np.frombuffer(path.read_bytes(), np.uint8)
        if raw[: len(MAGIC)].tobytes() != MAGIC or raw[len(MAGIC)] != 3:
            raise DataError(f"{path}: expected a binary trigram model of pocketsphinx, got something else")
        return _read(raw)
    except OSError as error:
        raise DataError(f"{path}: expected a trigram model, got: {error.strerror}") from None
    except (ValueError, IndexError) as error:
        raise DataError(f"{path}: expected a trigram model, got damaged data ({error})") from None


def _read(raw: NDArray[np.uint8]) -> Ngrams:
    at = len(MAGIC) + 1
    size, bigrams, trigrams, _ = map(int, np.frombuffer(raw, "<u4", 4, at))
    at += 16
    tables = np.frombuffer(raw, "<f4", 3 * BINS, at).reshape(3, BINS).astype(np.float64) * np.log(BASE)
    at += 12 * BINS
    unigrams = np.frombuffer(raw, UNIGRAM, size + 1, at)
    at += UNIGRAM.itemsize * (size + 1)
    word_bits, next_bits = size.bit_length(), trigrams.bit_length()
    widths = word_bits, BITS, BITS, next_bits
    second, backoff, p, following = _fields(raw[at:], bigrams + 1, widths)
    at += ((bigrams + 1) * sum(widths) + 7) // 8 + 8
    first, p_3 = _fields(raw[at:], trigrams, (word_bits, BITS))
    at += ((trigrams + 1) * (word_bits + BITS) + 7) // 8 + 8
    words = raw[at + 4 :].tobytes().decode().split("\0")[:size]
    # Those under a word, or under a bigram, reach to where those of the next begin.
    starts = unigrams["next"].astype(np.int64)
    count = starts[-1]
    last = np.repeat(np.arange(size), np.diff(starts))
    pairs = np.stack([second[:count], last], 1)
    under = np.repeat(np.arange(count), np.diff(following[: count + 1]))
    triples = np.column_stack([first[: len(under)], pairs[under]])
    scale = np.log(BASE)
    return Ngrams(tuple(words), (
        Order(np.arange(size)[:, None], unigrams["log_p"][:-1] * scale, unigrams["backoff"][:-1] * scale),
        _sorted(Order(pairs, tables[0][p[:count]], tables[1][backoff[:count]])),
        _sorted(Order(triples, tables[2][p_3[: len(under)]], np.zeros(len(under)))),
    ))


def _fields(raw: NDArray[np.uint8], count: int, widths: tuple[int, ...]) -> Iterator[Codes]:
    """Columns of a table of bits whose rows are `widths` wide, the lowest bit first."""
    offset = 0
    for width in widths:
        bits = np.arange(count) * sum(widths) + offset
        found = sum(raw[bits // 8 + byte].astype(np.int64) << 8 * byte for byte in range((width + 14) // 8))
        yield (found >> bits % 8) & ((1 << width) - 1)
        offset += width


def _sorted(order: Order) -> Order:
    return order.taken(np.lexsort(order.codes.T[::-1]))


def limited(model: Ngrams, words: Collection[str], most: int) -> Ngrams:
    """The model of these words alone, with about so many bigrams and trigrams: those that matter most.

    An n-gram matters by how often it comes times how far the model without it would be off (Stolcke 1998, without the
    change of the backoffs). What is left is made to add up to one again.
    """
    chosen = {START, END, *words}
    kept = np.array([word in chosen for word in model.words])
    number = np.cumsum(kept) - 1
    uni, bi, tri = (order.taken(np.all(kept[order.codes], axis=1)) for order in model.orders)
    uni, bi, tri = (Order(number[order.codes], order.log_p, order.backoff) for order in (uni, bi, tri))
    small = Ngrams(tuple(word for word in model.words if word in chosen), (uni, bi, tri))
    at_start = uni.log_p.copy()
    at_start[small.words.index(START)] = uni.log_p[small.words.index(END)]           # there are as many of both
    matter = []
    for order in (bi, tri):
        history = order.codes[:, :-1]
        log_history = at_start[history[:, 0]] + (small.log_p(history) if history.shape[1] > 1 else 0)
        without = small.backoff(history) + small.log_p(order.codes[:, 1:])
        matter.append(np.exp(log_history + order.log_p) * np.abs(order.log_p - without))
    least = np.sort(np.concatenate(matter))[-most] if most < len(bi.codes) + len(tri.codes) else 0.0
    tri = tri.taken(matter[1] >= least)
    needed = np.zeros(len(bi.codes), bool)
    at, known = small.places(tri.codes[:, :2])
    needed[at[known]] = True
    return _whole(Ngrams(small.words, (uni, bi.taken(needed | (matter[0] >= least)), tri.taken(known))))


def _whole(model: Ngrams) -> Ngrams:
    """The model with its unigrams scaled to add up to one, and backoffs with which every history does."""
    uni, bi, tri = model.orders
    said = np.array([word != START for word in model.words])
    log_p = np.where(said, uni.log_p - np.log(np.exp(uni.log_p[said]).sum()), uni.log_p)
    model = Ngrams(model.words, (Order(uni.codes, log_p, np.zeros(len(log_p))), bi, tri))
    for level in (1, 2):
        lower, order = model.orders[level - 1], model.orders[level]
        at, _ = model.places(order.codes[:, :-1])
        seen = np.bincount(at, np.exp(order.log_p), len(lower.codes))
        instead = np.bincount(at, np.exp(model.log_p(order.codes[:, 1:])), len(lower.codes))
        rest = np.log(np.maximum(1 - seen, LEFT) / np.maximum(1 - instead, LEFT))
        # Where no word is left to back off to, those seen are all there is.
        whole = np.log(np.where(instead > 1 - LEFT, np.maximum(seen, LEFT), 1.0))
        orders = [*model.orders]
        orders[level - 1] = Order(lower.codes, lower.log_p, np.where(seen > 0, rest, 0.0))
        orders[level] = Order(order.codes, order.log_p - whole[at], order.backoff)
        model = Ngrams(model.words, (orders[0], orders[1], orders[2]))
    return model
