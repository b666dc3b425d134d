import TensorCore

/// The possible answers of a task record and the text of each as a completion.
enum TaskChoices {
    /// How many entries a list after `Answer format:` has; anything else is no list of choices.
    private static let listSizes = 2...5

    /// The entries after the last `Answer format:` of `question`, up to the end of that line, split at `/`, without
    /// white space around them; nil where there are fewer than two, more than five, an empty one or one twice.
    static func list(in question: String) -> [String]? {
        guard let mark = lastRange(of: Array("Answer format:".utf8), in: Array(question.utf8)) else { return nil }
        let rest = question.utf8.dropFirst(mark.upperBound)
        let line = rest.prefix { $0 != UInt8(ascii: "\n") }
        let entries = line.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false).map { entry in
            String(decoding: trimmed(Array(entry)), as: UTF8.self)
        }
        guard listSizes.contains(entries.count), !entries.contains(""), NameSet(entries).count == entries.count else {
            return nil
        }
        return entries
    }

    /// `output` with the last occurrence of `answer` replaced by `choice`; `choice` itself where `output` does not
    /// contain the answer.
    ///
    /// An occurrence inside a longer word (`answer1` in `answer10`, `A` in `Answer`) counts only where there are no
    /// others: some scripts put no space between words.
    static func completion(_ output: String, replacing answer: String, by choice: String) -> String {
        let text = Array(output.utf8)
        let occurrences = ranges(of: Array(answer.utf8), in: text)
        guard let meant = occurrences.last(where: { isWholeWord($0, in: text) }) ?? occurrences.last else {
            return choice
        }
        return String(decoding: text[..<meant.lowerBound] + choice.utf8 + text[meant.upperBound...], as: UTF8.self)
    }

    /// Where `pattern` stands in `text`, without overlaps; nowhere for an empty pattern.
    private static func ranges(of pattern: [UInt8], in text: [UInt8]) -> [Range<Int>] {
        var found: [Range<Int>] = []
        var position = 0
        while !pattern.isEmpty, position + pattern.count <= text.count {
            if text[position..<position + pattern.count].elementsEqual(pattern) {
                found.append(position..<position + pattern.count)
                position += pattern.count
            } else {
                position += 1
            }
        }
        return found
    }

    private static func lastRange(of pattern: [UInt8], in text: [UInt8]) -> Range<Int>? {
        ranges(of: pattern, in: text).last
    }

    /// Whether no letter or digit outside `range` touches one at its ends.
    private static func isWholeWord(_ range: Range<Int>, in text: [UInt8]) -> Bool {
        let joinsBefore =
            range.lowerBound > 0 && isWordByte(text[range.lowerBound - 1]) && isWordByte(text[range.lowerBound])
        let joinsAfter =
            range.upperBound < text.count && isWordByte(text[range.upperBound])
            && isWordByte(text[range.upperBound - 1])
        return !joinsBefore && !joinsAfter
    }

    /// A letter or digit of ASCII, or a part of any character beyond it.
    private static func isWordByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), 0x80...0xFF:
            true
        default: false
        }
    }

    private static func trimmed(_ bytes: [UInt8]) -> ArraySlice<UInt8> {
        let isSpace: (UInt8) -> Bool = { $0 == 0x20 || $0 == 0x09 || $0 == 0x0D }
        let rest = bytes.drop(while: isSpace)
        return rest.prefix((rest.lastIndex { !isSpace($0) } ?? rest.startIndex - 1) + 1 - rest.startIndex)
    }
}
