import ArgumentParser
import CheckpointIO
import TensorCore

/// What the parser knows of a command: from here come help, manual pages, completion, and names that a mistyped one may
/// have meant.
struct CommandFacts: Sendable {
    /// An argument, option or flag.
    struct Argument: Sendable {
        /// How it is given.
        enum Kind: String, Sendable {
            case positional
            case option
            case flag
        }

        let kind: Kind
        /// With dashes, short ones first; none for a positional argument.
        let names: [String]
        /// What its value is called.
        let valueName: String
        let isRequired: Bool
        let isRepeating: Bool
        /// Whether the next word is its value, whatever it is.
        let takesAnything: Bool
        /// Whether help tells of it.
        let isShown: Bool
        /// The group that it stands in.
        let title: String?
        /// What it does, with its values and its default.
        let text: String
        /// All values that it takes, where they are few.
        let values: [String]
        /// The kind of file that its value names, as its declaration says; nil where it says nothing.
        let files: Files?

        /// Files that a value may name.
        enum Files: Sendable {
            case directories
            /// With one of these endings; any where there are none.
            case files(endings: [String])
        }

        /// The name that examples use: a long one where there is one.
        var name: String { names.last ?? "<\(valueName)>" }
    }

    /// Its name, that of the program for the root.
    let name: String
    /// What it does, a line.
    let abstract: String
    /// More of that, paragraph by paragraph; lines in them stay apart.
    let paragraphs: [String]
    /// Command lines that show it.
    let examples: [String]
    let arguments: [Argument]
    /// What stands below it, in the order of help.
    let commands: [CommandFacts]

    /// The program and all its commands.
    static let program: CommandFacts = {
        guard let json = try? JSONValue.parse(Array(RootCommand._dumpHelp().utf8)), let command = json["command"] else {
            preconditionFailure("the parser's own description is JSON")
        }
        return CommandFacts(command)
    }()

    /// The command of this name.
    func command(_ name: String) -> CommandFacts? { commands.first { $0.name == name } }

    /// What is shown and has a name with dashes, but for `--version`, which is the program's.
    var options: [Argument] { arguments.filter { $0.kind != .positional && $0.isShown } }
    var positionals: [Argument] { arguments.filter { $0.kind == .positional && $0.isShown } }

    /// The title of what must be given.
    static let neededTitle = "Needed"

    /// The options in the order of help: what is needed, with what its group has beside, then the others without a group
    /// and the groups; help itself, where it is alone, last.
    var sections: [(title: String, options: [Argument])] {
        let needed = options.filter { $0.isRequired || $0.title == Self.neededTitle }
        let others = options.filter { !$0.isRequired && $0.title != Self.neededTitle }
        let plain = others.filter { $0.title == nil }
        var sections = [(title: Self.neededTitle, options: needed)]
        let isHelp = plain.allSatisfy { $0.names.contains("--help") }
        if !isHelp { sections.append(("Options", plain)) }
        for option in others {
            guard let title = option.title, !sections.contains(where: { $0.title == title }) else { continue }
            sections.append((title, others.filter { $0.title == title }))
        }
        if isHelp { sections.append(("Options", plain)) }
        return sections.filter { !$0.options.isEmpty }
    }

    /// The first option among these words of a command line that the command does not have.
    func unknownOption(in words: [String]) -> String? {
        var words = words[...]
        while let word = words.popFirst(), word != "--" {
            guard GivenWords.isOption(word) else { continue }
            let name = String(word.prefix { $0 != "=" })
            guard let known = arguments.first(where: { $0.names.contains(name) }) else { return name }
            if known.kind == .option, name == word { words = words.dropFirst() }
        }
        return nil
    }

    private init(_ json: JSONValue) {
        name = json["commandName"]?.stringValue ?? ""
        abstract = json["abstract"]?.stringValue ?? ""
        let isRoot = json["superCommands"]?.arrayValue?.isEmpty ?? true
        let text = Discussion(json["discussion"]?.stringValue ?? "")
        (paragraphs, examples) = (text.paragraphs, text.examples)
        arguments = (json["arguments"]?.arrayValue ?? []).map(Argument.init).filter {
            isRoot || $0.names != ["--version"]
        }
        commands = (json["subcommands"]?.arrayValue ?? []).map(CommandFacts.init)
    }
}

extension CommandFacts.Argument {
    fileprivate init(_ json: JSONValue) {
        func text(_ key: String) -> String { json[key]?.stringValue ?? "" }
        self.kind = Kind(rawValue: text("kind")) ?? .option
        let names = (json["names"]?.arrayValue ?? []).map { name in
            (name["kind"]?.stringValue == "long" ? "--" : "-") + (name["name"]?.stringValue ?? "")
        }
        self.names = names.filter { !$0.hasPrefix("--") } + names.filter { $0.hasPrefix("--") }
        valueName = text("valueName")
        isRequired = json["isOptional"] == .bool(false)
        isRepeating = json["isRepeating"] == .bool(true)
        takesAnything = text("parsingStrategy") == "unconditional"
        isShown = json["shouldDisplay"] != .bool(false)
        title = json["sectionTitle"]?.stringValue
        let listed = json["completionKind"]?["list"]?["values"] ?? json["allValues"]
        values = (listed?.arrayValue ?? []).compactMap(\.stringValue)
        let kind = json["completionKind"]
        if kind?["directory"] != nil {
            files = .directories
        } else {
            files = kind?["file"].map { file in
                .files(endings: (file["extensions"]?.arrayValue ?? []).compactMap(\.stringValue))
            }
        }
        let told = [text("abstract"), text("discussion")].filter { !$0.isEmpty }.joined(separator: " ")
        let standard = json["defaultValue"]?.stringValue
        let untold = values.filter { !told.contains($0) }.isEmpty ? [] : values
        let facts = [
            untold.isEmpty ? nil : "values: " + untold.joined(separator: ", "),
            told.contains("default: ") ? nil : standard.map { "default: " + $0 },
        ].compactMap { $0 }
        self.text = told + (facts.isEmpty || self.kind == .flag ? "" : " (\(facts.joined(separator: "; ")))")
    }
}

/// A command's discussion in its source: paragraphs, and examples, which are lines that call the program.
private struct Discussion {
    private(set) var paragraphs: [String] = []
    private(set) var examples: [String] = []

    init(_ text: String) {
        var lines: [String] = []
        func isHeading(_ line: String) -> Bool { ["example:", "examples:"].contains(line.lowercased()) }
        func end(_ lines: inout [String], _ paragraphs: inout [String]) {
            if !lines.isEmpty { paragraphs.append(lines.joined(separator: "\n")) }
            lines = []
        }
        var isContinued = false
        for part in text.split(separator: "\n", omittingEmptySubsequences: false) {
            let line = String(part.drop { $0 == " " })
            if isContinued, !line.isEmpty {
                examples[examples.count - 1] = examples[examples.count - 1].dropLast(1) + line
            } else if Self.isCall(line) {
                examples.append(line)
            } else {
                if line.isEmpty { end(&lines, &paragraphs) } else if !isHeading(line) { lines.append(line) }
                continue
            }
            isContinued = line.hasSuffix("\\")
        }
        end(&lines, &paragraphs)
    }

    /// Whether a line calls a command of the program, or the program with an option.
    private static func isCall(_ line: String) -> Bool {
        let words = line.split(separator: " ")
        guard words.count > 1, words[0] == "tspeft" else { return false }
        return words[1].hasPrefix("-") || RootCommand.commandNames.contains(String(words[1]))
    }
}
