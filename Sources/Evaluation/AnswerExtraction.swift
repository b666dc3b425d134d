/// Finds the answer in generated text as LLM-Adapters does (AGI-Edgerunners/LLM-Adapters, `commonsense_evaluate.py`,
/// `extract_answer`): the first of the task's answer words that stands anywhere in the text, upper and lower case told
/// apart.
///
/// That program chooses the words by the data set's name; here the record's own possible answers choose them. Where
/// they belong to one of its tasks, all words of that task are looked for, as there: a model that says `answer5` of
/// four answers has answered, wrongly. Other possible answers are looked for themselves, without the white space around
/// them.
package struct AnswerExtraction: Sendable, Equatable {
    /// The words of LLM-Adapters' tasks: BoolQ; PIQA; SIQA, ARC and OpenBookQA; HellaSwag; WinoGrande.
    private static let tasks: [[String]] = [
        ["true", "false"],
        ["solution1", "solution2"],
        ["answer1", "answer2", "answer3", "answer4", "answer5"],
        ["ending1", "ending2", "ending3", "ending4"],
        ["option1", "option2"],
    ]

    /// The words that are looked for.
    package let words: [String]

    /// The extraction that fits a record with the possible answers `choices`.
    package init(choices: [String]) {
        let trimmed = choices.map(Self.trimmed)
        words = Self.tasks.first { Set($0).isSuperset(of: trimmed) } ?? trimmed.filter { !$0.isEmpty }
    }

    /// The word that stands first in `text`, of several at one place the longest; nil where none stands in it.
    package func answer(in text: String) -> String? {
        let bytes = Array(text.utf8)
        let patterns = words.map { Array($0.utf8) }
        for start in bytes.indices {
            let found = words.indices.filter { bytes[start...].starts(with: patterns[$0]) }
            if let longest = found.max(by: { patterns[$0].count < patterns[$1].count }) { return words[longest] }
        }
        return nil
    }

    /// Whether the answer in `text` is the possible answer `expected`.
    package func isCorrect(_ text: String, expected: String) -> Bool {
        answer(in: text) == Self.trimmed(expected)
    }

    private static func trimmed(_ text: String) -> String {
        let isSpace: (Character) -> Bool = { $0.isWhitespace }
        let rest = text.drop(while: isSpace)
        return String(rest.reversed().drop(while: isSpace).reversed())
    }
}
