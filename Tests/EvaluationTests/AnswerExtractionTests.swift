import Testing

@testable import Evaluation

struct AnswerExtractionTests {
    /// What `extract_answer` of LLM-Adapters gives for the same text.
    @Test(arguments: [
        (["true", "false"], "the correct answer is true", "true"),
        (["true", "false"], "it is not false but true", "false"),
        (["true", "false"], "that is untrue", "true"),
        (["solution1", "solution2"], "the correct answer is solution2", "solution2"),
        (["answer1", "answer2", "answer3"], "answer4 or answer2", "answer4"),
        (["answer1", "answer2", "answer3", "answer4"], "the correct answer is answer3\nanswer1", "answer3"),
        (["ending1", "ending2", "ending3", "ending4"], "ending4", "ending4"),
        (["option1", "option2"], "  the option1.", "option1"),
    ])
    func firstWordOfTheTaskIsTheAnswer(choices: [String], text: String, expected: String) {
        #expect(AnswerExtraction(choices: choices).answer(in: text) == expected)
    }

    @Test func textWithoutAWordHasNoAnswer() {
        let extraction = AnswerExtraction(choices: ["answer1", "answer2"])
        #expect(extraction.answer(in: "") == nil)
        #expect(extraction.answer(in: "the correct answer is 2") == nil)
        #expect(!extraction.isCorrect("", expected: "answer1"))
    }

    @Test func upperAndLowerCaseAreToldApart() {
        #expect(AnswerExtraction(choices: ["true", "false"]).answer(in: "True, not false") == "false")
    }

    @Test func fifthAnswerCountsAsAWrongOneWhereThereAreFour() {
        let extraction = AnswerExtraction(choices: ["answer1", "answer2", "answer3", "answer4"])
        #expect(extraction.answer(in: "answer5 answer1") == "answer5")
        #expect(!extraction.isCorrect("answer5 answer1", expected: "answer1"))
    }

    @Test func otherChoicesAreLookedForThemselves() {
        let extraction = AnswerExtraction(choices: [" good", " bad"])
        #expect(extraction.answer(in: " good, not bad") == "good")
        #expect(extraction.isCorrect(" bad", expected: " bad"))
        #expect(!extraction.isCorrect(" good", expected: " bad"))
        #expect(extraction.answer(in: "true") == nil)
    }

    @Test func longerOfTwoChoicesAtOnePlaceWins() {
        let extraction = AnswerExtraction(choices: ["very", "very good", "bad"])
        #expect(extraction.answer(in: "It is very good.") == "very good")
        #expect(extraction.answer(in: "It is very bad.") == "very")
    }

    @Test func textBeyondASCIIIsSearched() {
        #expect(AnswerExtraction(choices: ["真", "假"]).answer(in: "答案是假的") == "假")
    }
}
