import ArgumentParser

/// An option as it was given, by its own name or another.
struct Translated {
    /// The option.
    let target: CommandShape.Argument
    /// What the other name says of it; nil for its own name, and for one with underscores alone.
    let alias: OptionAlias?
    /// How the user wrote it.
    let spelling: String

    /// What `spelling`, with its dashes or the key of a file, means to a command; nil where it means nothing. Throws for a
    /// name that is refused.
    init?(_ spelling: String, in shape: CommandShape) throws {
        self.spelling = spelling
        let name = OptionAlias.name(spelled: spelling)
        if let own = shape.option(spelled: spelling) ?? shape.option(name) {
            (target, alias) = (own, nil)
            return
        }
        for alias in OptionAlias.all(named: name, in: shape.command) {
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

    /// Whether it was given by a name of its own, as it stands.
    var isOwn: Bool { alias == nil && target.spellings.contains(spelling) }

    /// Whether it says something by a word of truth, or by no word.
    var isSwitch: Bool {
        switch alias?.conversion {
        case .flag, .setting: true
        default: target.isFlag
        }
    }

    /// Whether a value that is no word of truth is refused with a reason, rather than left for the parser.
    var refusesValues: Bool {
        if case .flag(.some)? = alias?.conversion { true } else { false }
    }

    /// Whether the next word of the command line is its value.
    func takes(_ next: String) -> Bool {
        if target.takesAnything { return true }
        guard !GivenWords.isOption(next) else { return false }
        // A switch may have a word of truth behind it, as HF Trainer's have; one of ours has none.
        guard isSwitch else { return true }
        return alias != nil && (Self.truth(next) != nil || refusesValues)
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
        if case .setting(let set)? = alias?.conversion {
            return try isSet(value) ? [target.longSpelling, set] : []
        }
        if target.isFlag { return try isSet(value) ? [target.longSpelling] : [] }
        let name = target.isPositional ? nil : target.longSpelling
        guard let value else { return name.map { [$0] } ?? [] }
        let converted = try converted(value)
        // A value that begins with a dash is one all the same.
        return name.map { converted.hasPrefix("-") ? ["\($0)=\(converted)"] : [$0, converted] } ?? [converted]
    }

    /// Whether a switch is set, which it is without a value.
    private func isSet(_ value: String?) throws -> Bool {
        guard let value else { return true }
        if let truth = Self.truth(value) { return truth }
        if case .flag(let others?)? = alias?.conversion { throw ValidationError("\(spelling) \(value): \(others)") }
        throw ValidationError("\(spelling) takes true or false, not '\(value)'")
    }

    /// A value of the other program as one of ours.
    private func converted(_ value: String) throws -> String {
        switch alias?.conversion ?? .none {
        case .none, .flag, .setting: return value
        case .words(let words, let others):
            if let word = words[value] ?? words[value.lowercased()] { return word }
            if let others { throw ValidationError("\(spelling) \(value): \(others)") }
            return value
        case .share:
            guard let share = Double(value), (0..<1).contains(share) else {
                throw ValidationError("\(spelling) must be a share of at least 0 and below 1, not '\(value)'")
            }
            return percentText(share)
        }
    }

    /// A share as percent without the noise of binary fractions: 0.03 is 3 %, not 3.0000000000000004 %.
    private func percentText(_ share: Double) -> String {
        let digits = 1e12
        return "\((share * 100 * digits).rounded() / digits)%"
    }
}
