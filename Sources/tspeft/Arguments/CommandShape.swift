import ArgumentParser
import CheckpointIO

/// A command's arguments, as the parser describes them.
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

        /// Whether it is told by its place.
        var isPositional: Bool { spellings.isEmpty }
    }

    /// The command's name.
    let command: String
    /// Its arguments, in the order of the help.
    let arguments: [Argument]

    /// The shape of a command of the program; nil where there is none of that name.
    init?(of name: String) {
        let found = RootCommand.configuration.subcommands.first { $0.configuration.commandName == name }
        guard let found else { return nil }
        command = name
        let tool = try? JSONValue.parse(Array(found._dumpHelp().utf8))
        arguments = (tool?["command"]?["arguments"]?.arrayValue ?? []).compactMap(Argument.init)
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
    fileprivate init?(_ json: JSONValue) {
        guard let kind = json["kind"]?.stringValue else { return nil }
        let names = (json["names"]?.arrayValue ?? []).compactMap { name -> String? in
            guard let text = name["name"]?.stringValue else { return nil }
            return name["kind"]?.stringValue == "long" ? "--" + text : "-" + text
        }
        let long = names.first { $0.hasPrefix("--") }
        self.init(
            name: (long ?? names.first).map { String($0.drop { $0 == "-" }) } ?? json["valueName"]?.stringValue ?? "",
            spellings: kind == "positional" ? [] : names, isFlag: kind == "flag",
            isRepeating: json["isRepeating"]?.boolValue ?? false)
    }
}
