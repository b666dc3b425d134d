import ArgumentParser

/// A command's words behind its name, each taken for what it is.
struct GivenWords {
    /// An option or flag as it was given.
    struct Option {
        /// What it means.
        let meaning: Translated
        /// Its value, where one was given.
        let value: String?
        /// Whether the value stood behind `=`.
        let isJoined: Bool
    }

    /// A word, or an option with its value.
    enum Item {
        /// An option or flag of the command, by its own name or another.
        case option(Option)
        /// A positional argument.
        case positional(String)
        /// What is left to the parser.
        case other(String)
    }

    /// All that stands before `--`.
    private(set) var items: [Item] = []
    /// What stands behind it, with it.
    private(set) var rest: [String] = []

    /// The options, in order.
    var options: [Option] {
        items.compactMap { if case .option(let option) = $0 { option } else { nil } }
    }

    /// How many positional arguments there are.
    var positionalCount: Int {
        items.count { if case .positional = $0 { true } else { false } } + max(0, rest.count - 1)
    }

    /// Takes the words apart. Throws `ValidationError` for another program's option that says nothing here.
    init(_ words: ArraySlice<String>, _ shape: CommandShape) throws {
        var left = words
        while let word = left.popFirst() {
            if word == "--" {
                rest = [word] + left
                return
            }
            guard Self.isOption(word) else {
                items.append(.positional(word))
                continue
            }
            let equals = word.firstIndex(of: "=")
            let spelling = String(word[..<(equals ?? word.endIndex)])
            let joined = equals.map { String(word[word.index(after: $0)...]) }
            if let value = joined ?? left.first, OptionAlias.isHarmless(spelling, value, in: shape) {
                if joined == nil { left.removeFirst() }
                continue
            }
            guard let meaning = try Translated(spelling, in: shape) else {
                items.append(.other(word))
                continue
            }
            let takes = joined == nil && (left.first.map(meaning.takes) ?? false)
            let value = takes ? left.removeFirst() : joined
            items.append(.option(Option(meaning: meaning, value: value, isJoined: joined != nil)))
        }
    }

    /// Whether a word is an option rather than a value: it begins with a dash and is no negative number.
    static func isOption(_ word: String) -> Bool {
        guard word.hasPrefix("-"), word != "-" else { return false }
        let number = word.dropFirst().first == "." ? word.dropFirst(2) : word.dropFirst()
        return !(number.first.map { $0.isASCII && $0.isNumber } ?? false) && Double(word) == nil
    }
}

extension GivenWords.Option {
    /// The option as the parser takes it: a value that begins with a dash is one all the same.
    var words: [String] {
        get throws {
            let target = meaning.target
            guard meaning.isOwn else { return try meaning.words(value) }
            guard let value else { return [meaning.spelling] }
            let isShort = !meaning.spelling.hasPrefix("--")
            let needsJoining = !isJoined && !target.takesAnything && value.hasPrefix("-") && value != "-"
            if needsJoining || isJoined && isShort { return ["\(target.longSpelling)=\(value)"] }
            return isJoined ? ["\(meaning.spelling)=\(value)"] : [meaning.spelling, value]
        }
    }
}
