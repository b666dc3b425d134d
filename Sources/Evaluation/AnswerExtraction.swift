import TensorCore

/// Finds the answer in generated text as LLM-Adapters does (AGI-Edgerunners/LLM-Adapters, `commonsense_evaluate.py`,
/// `extract_answer`): the first of the task's answer words that stands anywhere in the text, upper and lower case told
/// apart.
///
/// That program chooses the words by the data set's name; here the record's own possible answers choose them. Where
/// they belong to one of its tasks, all words of that task are looked for, as there: a model that says `answer5` of
/// four answers has answered, wrongly. Other possible answers are looked for themselves, without the white space around
/// them, as words of their own: `no` does not stand in `not`. A single letter or digit is found everywhere, so it counts
/// only behind "answer is" or "answer:", in letters of either case, or where it is all that a line says.
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
    /// Whether they are one of the tasks', which are found inside other words too.
    private let isOfTask: Bool

    /// The extraction that fits a record with the possible answers `choices`.
    package init(choices: [String]) {
        let trimmed = choices.map(Self.trimmed)
        let task = Self.tasks.first { Set($0).isSuperset(of: trimmed) }
        words = task ?? trimmed.filter { !$0.isEmpty }
        isOfTask = task != nil
    }

    /// The word that stands first in `text`, of several at one place the longest; nil where none stands in it.
    package func answer(in text: String) -> String? {
        let bytes = Array(text.utf8)
        let patterns = words.map { Array($0.utf8) }
        for start in bytes.indices {
            let found = words.indices.filter { bytes[start...].starts(with: patterns[$0]) }.filter { index in
                let range = start..<start + patterns[index].count
                if isOfTask { return true }
                return patterns[index].count == 1 && Self.isLetterOrDigit(patterns[index][0])
                    ? Self.isNamed(range, in: bytes) : Self.isWholeWord(range, in: bytes)
            }
            if let longest = found.max(by: { patterns[$0].count < patterns[$1].count }) { return words[longest] }
        }
        return nil
    }

    /// Whether the answer in `text` is the possible answer `expected`.
    package func isCorrect(_ text: String, expected: String) -> Bool {
        answer(in: text)?.hasSameBytes(as: Self.trimmed(expected)) ?? false
    }

    private static func trimmed(_ text: String) -> String {
        let isSpace: (Character) -> Bool = { $0.isWhitespace }
        let rest = text.drop(while: isSpace)
        return String(rest.reversed().drop(while: isSpace).reversed())
    }

    /// Whether nothing that is a part of a word touches `range` from outside.
    private static func isWholeWord(_ range: Range<Int>, in text: [UInt8]) -> Bool {
        !(joins(before: range.lowerBound, text) || joins(before: range.upperBound, text))
    }

    /// Whether what stands on both sides of a place belongs to one word, as scripts have it that put spaces between them.
    private static func joins(before place: Int, _ text: [UInt8]) -> Bool {
        guard place > 0, place < text.count else { return false }
        var start = place - 1
        while start > 0, text[start] & 0xC0 == 0x80 { start -= 1 }
        let left = String(decoding: text[start..<place], as: UTF8.self).unicodeScalars.first
        let right = String(decoding: text[place..<min(place + 4, text.count)], as: UTF8.self).unicodeScalars.first
        return [left, right].allSatisfy { scalar in
            guard let scalar, scalar.properties.isAlphabetic || scalar.properties.numericType != nil else {
                return false
            }
            return !unspacedScripts.contains { $0.contains(scalar.value) }
        }
    }

    /// Scripts without spaces between words: Thai and Lao, Burmese, Khmer, and all of East Asia.
    private static let unspacedScripts: [ClosedRange<UInt32>] = [
        0x0E00...0x0EFF, 0x1000...0x109F, 0x1780...0x17FF, 0x2E80...0x10FFFF,
    ]

    private static func isLetterOrDigit(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte & 0xDF)
    }

    /// Whether the letter or digit at `range` is said to be the answer, or its line says nothing else.
    private static func isNamed(_ range: Range<Int>, in text: [UInt8]) -> Bool {
        guard isWholeWord(range, in: text) else { return false }
        let isPlain: (UInt8) -> Bool = { !isLetterOrDigit($0) && $0 < 0x80 }
        let isLine: (UInt8) -> Bool = { $0 == UInt8(ascii: "\n") }
        let before = text[..<range.lowerBound]
        let line = before[((before.lastIndex(where: isLine) ?? -1) + 1)...]
        let rest = text[range.upperBound...].prefix { !isLine($0) }
        if line.allSatisfy(isPlain), rest.allSatisfy(isPlain) { return true }
        // "answer is: (B" without what is between the words and the letter.
        let marks = " \t:([{\"'*_`$=".utf8
        let words = before.prefix(before.count - before.reversed().prefix { marks.contains($0) || isLine($0) }.count)
        let between = before[words.endIndex...]
        guard !between.isEmpty else { return false }
        let lowered = words.suffix(9).map { (0x41...0x5A).contains($0) ? $0 | 0x20 : $0 }
        return lowered.elementsEqual("answer is".utf8)
            || lowered.suffix(6).elementsEqual("answer".utf8) && between.contains(UInt8(ascii: ":"))
    }
}
