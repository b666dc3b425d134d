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

    @Test func answersAreToldApartByTheirBytes() {
        let extraction = AnswerExtraction(choices: ["caf\u{E9}", "tea"])
        #expect(extraction.isCorrect("caf\u{E9}", expected: "caf\u{E9}"))
        #expect(!extraction.isCorrect("caf\u{E9}", expected: "cafe\u{301}"))
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

    /// A letter stands in most texts without being an answer.
    @Test(arguments: [
        ("The Answer is B", "B"), ("A good question. The correct answer is: (C).", "C"), ("ANSWER: D", "D"),
        ("answer is **A**", "A"), ("B", "B"), ("(B)", "B"), ("B.\nA is wrong", "B"), ("I think\nC\n", "C"),
        ("The answer is\nB", "B"), ("My answer: \"D\", not A", "D"), ("Answer:\n\nA", "A"),
    ])
    func letterCountsWhereItIsSaidToBeTheAnswer(text: String, expected: String) {
        #expect(AnswerExtraction(choices: ["A", "B", "C", "D"]).answer(in: text) == expected)
    }

    @Test(arguments: [
        "A cat", "The Answer", "Answer", "I like B", "answer is bad", "the answer is Because", "B or C?", "",
    ])
    func letterElsewhereIsNoAnswer(text: String) {
        #expect(AnswerExtraction(choices: ["A", "B", "C", "D"]).answer(in: text) == nil)
    }

    @Test func digitsAreTakenAsLettersAre() {
        let extraction = AnswerExtraction(choices: ["1", "2"])
        #expect(extraction.answer(in: "There are 2 reasons, so the answer is 1.") == "1")
        #expect(extraction.answer(in: "12") == nil)
    }

    @Test func wordsCountAsWholeWords() {
        let extraction = AnswerExtraction(choices: ["no", "yes"])
        #expect(extraction.answer(in: "I do not know, nor did I; yes") == "yes")
        #expect(extraction.answer(in: "yesterday, no") == "no")
        #expect(extraction.answer(in: "piano") == nil)
        #expect(AnswerExtraction(choices: ["été", "hiver"]).answer(in: "l'été") == "été")
        #expect(AnswerExtraction(choices: ["t", "hiver"]).answer(in: "été") == nil)
    }
}
