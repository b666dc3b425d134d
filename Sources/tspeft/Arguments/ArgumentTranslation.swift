import ArgumentParser

/// Puts a command's words into our names, before the parser sees them: other programs' names of options
/// (`OptionAlias.all`), underscores for hyphens, and negative numbers as values.
struct ArgumentTranslation {
    private let shape: CommandShape
    private let given: GivenWords

    /// The arguments of the program in our names. Throws `ValidationError` for an option that is given twice, by whatever
    /// names, and for a name whose meaning differs.
    static func translated(_ arguments: [String]) throws -> [String] {
        guard let command = arguments.first, let shape = CommandShape(of: command) else { return arguments }
        let translation = ArgumentTranslation(
            shape: shape, given: try GivenWords(arguments.dropFirst(), shape))
        try translation.checkMeanings()
        try translation.checkCounts()
        return [command] + (try translation.words())
    }

    private func words() throws -> [String] {
        try given.items.flatMap { item in
            switch item {
            case .option(let option): try option.words
            case .positional(let word), .other(let word): [word]
            }
        } + given.rest
    }

    /// Throws where an alias stands beside an option that changes its meaning.
    private func checkMeanings() throws {
        let named = Set(given.options.map(\.meaning.target.name))
        for option in given.options {
            for (name, reason) in option.meaning.alias?.notBeside ?? [:] where named.contains(name) {
                throw ValidationError("\(option.meaning.spelling) beside --\(name): \(reason)")
            }
        }
    }

    /// Throws where an option that has one value, or a flag by two names, is given more than once: the parser would take
    /// the last without a word.
    private func checkCounts() throws {
        var first: [String: String] = [:]
        for option in given.options where !option.meaning.target.isRepeating {
            let (target, spelling) = (option.meaning.target, option.meaning.spelling)
            guard let other = first.updateValue(spelling, forKey: target.name) else { continue }
            if target.isFlag, other == spelling { continue }
            throw ValidationError(twice(target, other, spelling))
        }
    }

    private func twice(_ target: CommandShape.Argument, _ first: String, _ second: String) -> String {
        guard first == second else { return "\(first) and \(second) are two names of one option; give one of them" }
        let count = given.options.count { $0.meaning.target.name == target.name }
        let hint = target.name == "adapter" ? " ('merge' adds several up)" : ""
        return "\(first) is given \(count) times; \(shape.command) takes one\(hint)"
    }
}
