import ArgumentParser
import TensorCore

/// Puts other programs' names of options into ours, before the parser sees them: `OptionAlias.all`.
struct ArgumentTranslation {
    private let shape: CommandShape
    /// The command's own options that were given, by their long names, with how they were spelled.
    private var given: [String: String] = [:]
    /// The long names of all options that are given, by whatever name.
    private var named: Set<String> = []

    /// The arguments of the program in our names. Throws `ValidationError` for an alias beside its own name, and for
    /// one whose meaning differs.
    static func translated(_ arguments: [String]) throws -> [String] {
        guard let command = arguments.first, arguments.dropFirst().contains(where: isForeign),
            let shape = CommandShape(of: command)
        else { return arguments }
        var translation = ArgumentTranslation(shape: shape)
        return [command] + (try translation.translate(Array(arguments.dropFirst())))
    }

    /// Whether a word may be another program's option; cheap, since every start of the program asks.
    private static func isForeign(_ word: String) -> Bool {
        guard word.hasPrefix("--") else { return false }
        let name = word.dropFirst(2).prefix { $0 != "=" }
        return name.contains("_") || OptionAlias.all.contains { $0.name == name }
    }

    private init(shape: CommandShape) { self.shape = shape }

    private mutating func translate(_ words: [String]) throws -> [String] {
        let end = words.firstIndex(of: "--") ?? words.endIndex
        for word in words[..<end] {
            let spelling = String(word.prefix { $0 != "=" })
            if let own = shape.option(spelled: spelling) { given[own.name] = spelling }
        }
        let aliased = try words[..<end].compactMap { word -> String? in
            guard word.hasPrefix("--") else { return nil }
            return try Translated(String(word.prefix { $0 != "=" }), in: shape)?.target.name
        }
        named = Set(given.keys).union(aliased)
        var result: [String] = []
        var rest = words[..<end]
        while let word = rest.popFirst() {
            guard word.hasPrefix("--"), shape.option(spelled: String(word.prefix { $0 != "=" })) == nil else {
                result.append(word)
                continue
            }
            let equals = word.firstIndex(of: "=")
            let spelling = String(word[..<(equals ?? word.endIndex)])
            var value = equals.map { String(word[word.index(after: $0)...]) }
            guard let alias = try Translated(spelling, in: shape) else {
                result.append(word)
                continue
            }
            try check(alias, spelling)
            if value == nil, !alias.isPlainFlag, let next = rest.first, !next.hasPrefix("--") {
                // A flag may have a word of truth behind it, as HF Trainer's have.
                if !alias.target.isFlag || Translated.truth(next) != nil || alias.refusesValues {
                    value = rest.popFirst()
                }
            }
            result += try alias.words(value)
        }
        return result + words[end...]
    }

    /// Throws where the option is given by its own name too, by another alias, or beside one that changes its meaning.
    private mutating func check(_ alias: Translated, _ spelling: String) throws {
        if let other = given[alias.target.name] {
            throw ValidationError("\(spelling) and \(other) are two names of one option; give one of them")
        }
        for (name, reason) in alias.alias?.notBeside ?? [:] {
            if named.contains(name) { throw ValidationError("\(spelling) beside --\(name): \(reason)") }
        }
        given[alias.target.name] = spelling
    }
}

/// An option that was given by another name.
struct Translated {
    /// The option.
    let target: CommandShape.Argument
    /// What the other name says of it; nil for one with underscores alone.
    let alias: OptionAlias?
    /// How the user wrote it.
    let spelling: String

    /// What `spelling` means to a command; nil where it means nothing. Throws for a name that is refused.
    init?(_ spelling: String, in shape: CommandShape) throws {
        let name = spelling.drop { $0 == "-" }.map { $0 == "_" ? "-" : String($0) }.joined()
        self.spelling = spelling
        if let own = shape.option(name) {
            (target, alias) = (own, nil)
            return
        }
        for alias in OptionAlias.all
        where alias.name == name && alias.commands?.contains(shape.command) ?? true {
            switch alias.meaning {
            case .option(let names):
                guard let own = names.lazy.compactMap({ shape.option($0) }).first else { continue }
                (target, self.alias) = (own, alias)
                return
            case .positional:
                guard let own = shape.option("base") ?? shape.positional else { continue }
                (target, self.alias) = (own, alias)
                return
            case .refused(let reason):
                throw ValidationError("\(spelling) is none of tspeft \(shape.command)'s options: \(reason)")
            }
        }
        return nil
    }

    /// An option under its own name.
    init(_ own: CommandShape.Argument, _ spelling: String) {
        (target, alias) = (own, nil)
        self.spelling = spelling
    }

    /// Whether it is a flag of ours that was only spelled otherwise.
    var isPlainFlag: Bool { target.isFlag && alias == nil }

    /// Whether a value that is no word of truth is refused with a reason, rather than left for the parser.
    var refusesValues: Bool {
        if case .flag(.some)? = alias?.conversion { true } else { false }
    }

    /// What words of truth say; nil for other words.
    static func truth(_ word: String) -> Bool? {
        switch word.lowercased() {
        case "true", "yes", "on": true
        case "false", "no", "off": false
        default: nil
        }
    }

    /// The words for the parser.
    func words(_ value: String?) throws -> [String] {
        let name = target.spellings.first { $0.hasPrefix("--") } ?? target.spellings.first
        if target.isFlag { return try flagWords(name ?? "", value) }
        guard let value else { return name.map { [$0] } ?? [] }
        let converted = try converted(value)
        // A value that begins with a dash is one all the same.
        return name.map { converted.hasPrefix("-") ? ["\($0)=\(converted)"] : [$0, converted] } ?? [converted]
    }

    private func flagWords(_ name: String, _ value: String?) throws -> [String] {
        guard let value else { return [name] }
        if let truth = Self.truth(value) { return truth ? [name] : [] }
        if case .flag(let others?)? = alias?.conversion { throw ValidationError("\(spelling) \(value): \(others)") }
        throw ValidationError("\(spelling) takes true or false, not '\(value)'")
    }

    /// A value of the other program as one of ours.
    private func converted(_ value: String) throws -> String {
        switch alias?.conversion ?? .none {
        case .none, .flag: return value
        case .words(let words, let others):
            if let word = words[value] { return word }
            if let others { throw ValidationError("\(spelling) \(value): \(others)") }
            return value
        case .share:
            guard let share = Double(value), (0..<1).contains(share) else {
                throw ValidationError("\(spelling) must be a share of at least 0 and below 1, not '\(value)'")
            }
            return percentText(share)
        case .shareOrCount:
            guard let share = Double(value), share > 0, share < 1 else { return value }
            return percentText(share)
        }
    }

    /// A share as percent without the noise of binary fractions: 0.03 is 3 %, not 3.0000000000000004 %.
    private func percentText(_ share: Double) -> String {
        let digits = 1e12
        return "\((share * 100 * digits).rounded() / digits)%"
    }
}
