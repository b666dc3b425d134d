import Testing

@testable import Data

struct TaskChoicesTests {
    @Test(arguments: [
        ("Q\n\nAnswer format: answer1/answer2", ["answer1", "answer2"]),
        ("Answer format: true/false\nThink well.", ["true", "false"]),
        ("Answer format:a / b /c\r\n", ["a", "b", "c"]),
        (
            "Answer format: x/y. Answer format: ending1/ending2/ending3/ending4",
            ["ending1", "ending2", "ending3", "ending4"]
        ),
        ("Answer format: 1/2/3/4/5", ["1", "2", "3", "4", "5"]),
    ])
    func listAfterTheLastAnswerFormatIsTaken(question: String, expected: [String]) {
        #expect(TaskChoices.list(in: question) == expected)
    }

    @Test(arguments: [
        "", "Which of a/b?", "answer format: a/b", "Answer format:", "Answer format: one", "Answer format: 1/2/3/4/5/6",
        "Answer format: a//b", "Answer format: a/a", "Answer format:\na/b",
    ])
    func whatIsNoListOfTwoToFiveGivesNoChoices(question: String) {
        #expect(TaskChoices.list(in: question) == nil)
    }

    @Test(arguments: [
        ("the correct answer is answer1", "answer1", "answer3", "the correct answer is answer3"),
        (" good", " good", " bad", " bad"),
        (" good", "good", "bad", " bad"),
        ("answer1, that is answer1.", "answer1", "answer2", "answer1, that is answer2."),
        ("Answer: A", "A", "B", "Answer: B"),
        ("A is a letter, so the Answer is A.", "A", "B", "A is a letter, so the Answer is B."),
        ("true, not untrue", "true", "false", "false, not untrue"),
        ("untrue, intrue", "true", "false", "untrue, infalse"),
        ("answer10 or answer1", "answer1", "answer2", "answer10 or answer2"),
        ("答案是真", "真", "假", "答案是假"),
        ("the correct answer is two", "answer2", "answer1", "answer1"),
        ("", "a", "b", "b"),
        ("x", "", "b", "b"),
    ])
    func choiceStandsInPlaceOfTheAnswer(output: String, answer: String, choice: String, expected: String) {
        #expect(TaskChoices.completion(output, replacing: answer, by: choice) == expected)
    }

    @Test func replacingTheAnswerByItselfChangesNothing() {
        for output in ["the correct answer is true", "untrue", "true, true"] {
            #expect(TaskChoices.completion(output, replacing: "true", by: "true") == output)
        }
    }
}
