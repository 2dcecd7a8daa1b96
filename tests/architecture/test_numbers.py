"""The sizes of functions, classes and files, the arrows between rooms, and the prose."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.architecture import numbers
from tests.architecture.drawing import PAGE, drawing, with_drawing
from tests.architecture.imports import Source
from tests.architecture.rooms import cycles

TOP = Path(__file__).parents[2]


class StructureTests(SynchronousTestCase):
    source = Source()

    def test_nothing_is_too_long(self) -> None:
        files = [
            (lines, name)
            for lines, name in numbers.file_lines(self.source)
            if lines > numbers.MAX_FILE_LINES and name not in numbers.TABLE_FILES
        ]
        classes = [
            (lines, name)
            for lines, name in numbers.class_lines(self.source)
            if lines > numbers.MAX_CLASS_LINES
        ]
        self.assertEqual((files, classes), ([], []))

    def test_the_root_of_the_package_stays_small(self) -> None:
        self.assertLessEqual(len(numbers.root_modules(self.source)), numbers.MAX_ROOT_MODULES)

    def test_no_module_imports_itself_through_others(self) -> None:
        self.assertEqual(cycles(self.source.imports), [])

    def test_there_are_few_arrows_between_rooms(self) -> None:
        self.assertLessEqual(len(self.source.room_arrows()), numbers.MAX_ROOM_ARROWS)

    def test_the_drawing_is_current(self) -> None:
        """If not: python -m tests.architecture.drawing"""
        page = PAGE.read_text()
        self.assertEqual(with_drawing(page, drawing(self.source)), page)


class ProseTests(SynchronousTestCase):
    def test_vague_words_are_rare(self) -> None:
        """Sentences without a named subject: whoever, somebody, nobody."""
        files = numbers.prose_files(TOP) + list(Source().files.values())
        found, words = numbers.vague_words(map(numbers.prose, set(files)))
        self.assertLessEqual(1000 * found / words, numbers.MAX_VAGUE_WORDS_PER_1000)
