/// A command's arguments by their names, of what `CommandFacts` tells of it.
struct CommandShape {
    /// An option, a flag or a positional argument.
    struct Argument {
        /// Its long name, or what a positional argument is called.
        let name: String
        /// Every spelling, dashes included; none for a positional argument.
        let spellings: [String]
        /// Whether it takes no value.
        let isFlag: Bool
        /// Whether it may be given more than once.
        let isRepeating: Bool
        /// Whether the next word is its value, whatever it is.
        let takesAnything: Bool

        /// Its long name with its dashes, or else what it is spelled by.
        var longSpelling: String { spellings.first { $0.hasPrefix("--") } ?? spellings.first ?? name }

        /// Whether it is told by its place.
        var isPositional: Bool { spellings.isEmpty }
    }

    /// The command's name.
    let command: String
    /// Its arguments, in the order of the help.
    let arguments: [Argument]

    /// The shape of a command of the program; nil where there is none of that name.
    init?(of name: String) {
        guard let facts = CommandFacts.program.command(name) else { return nil }
        command = name
        arguments = facts.arguments.map(Argument.init)
    }

    /// The option with the long name `name`, such as `learning-rate`.
    func option(_ name: String) -> Argument? {
        arguments.first { $0.spellings.contains("--" + name) }
    }

    /// The option or flag that a word of the command line spells, such as `-o`.
    func option(spelled word: String) -> Argument? { arguments.first { $0.spellings.contains(word) } }

    /// The first positional argument.
    var positional: Argument? { arguments.first(where: \.isPositional) }
}

extension CommandShape.Argument {
    fileprivate init(_ facts: CommandFacts.Argument) {
        let option = facts.names.first { $0.hasPrefix("--") } ?? facts.names.first
        self.init(
            name: option.map { String($0.drop { $0 == "-" }) } ?? facts.valueName, spellings: facts.names,
            isFlag: facts.kind == .flag, isRepeating: facts.isRepeating, takesAnything: facts.takesAnything)
    }
}
