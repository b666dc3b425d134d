import TensorCore

/// The help of a command: what is needed comes first, then what there is to choose, in groups, then examples and the
/// whole story.
struct HelpText {
    /// Columns of a line at most.
    static let width = 80
    private static let indent = 2
    /// Where the words beside a name begin.
    private static let textColumn = 24

    private let facts: CommandFacts
    private let isRoot: Bool
    private var lines: [String] = []

    /// The help of a command, or of the program itself, a text without a line's end.
    static func text(of facts: CommandFacts, isRoot: Bool = false) -> String {
        var text = HelpText(facts: facts, isRoot: isRoot)
        text.write()
        return text.lines.joined(separator: "\n")
    }

    private mutating func write() {
        add(wrapped(facts.abstract))
        addUsage()
        if isRoot { addCommands() }
        addTable("ARGUMENTS:", facts.positionals)
        for section in facts.sections { addTable(section.title.uppercased() + ":", section.options) }
        if !facts.examples.isEmpty {
            addTitle("EXAMPLES:")
            for example in facts.examples { add(Self.brokenCall(example)) }
        }
        if !facts.paragraphs.isEmpty {
            addTitle("MORE:")
            for (index, paragraph) in facts.paragraphs.enumerated() {
                if index > 0 { add([""]) }
                for line in paragraph.split(separator: "\n") { add(wrapped(String(line))) }
            }
        }
        if isRoot { add(["", "'tspeft COMMAND --help' and 'man tspeft.COMMAND' tell more of a command."]) }
    }

    // MARK: Parts

    private mutating func addUsage() {
        var words = [isRoot ? "tspeft" : "tspeft \(facts.name)"]
        if isRoot { words.append("<command> ...") }
        words += facts.positionals.map { $0.isRequired ? "<\($0.valueName)>" : "[<\($0.valueName)>]" }
        words += facts.options.filter(\.isRequired).map { option in
            (option.names.first ?? "") + " <\(option.valueName)>" + (option.isRepeating ? " ..." : "")
        }
        let hasChoice = facts.options.contains { !$0.isRequired && !$0.names.contains("--help") }
        if hasChoice, !isRoot { words.append("[options]") }
        add([""])
        add(ScreenText.filled(words, columns: Self.width, first: "USAGE: ", rest: "           "))
    }

    private mutating func addCommands() {
        addTitle("COMMANDS:")
        for command in facts.commands where command.name != "help" {
            add(Self.row(command.name, command.abstract))
        }
    }

    private mutating func addTable(_ title: String, _ arguments: [CommandFacts.Argument]) {
        guard !arguments.isEmpty else { return }
        addTitle(title)
        for argument in arguments { add(Self.row(Self.label(of: argument), argument.text)) }
    }

    private mutating func addTitle(_ title: String) { add(["", title]) }

    private mutating func add(_ more: [String]) { lines += more }

    /// Text in lines.
    private func wrapped(_ text: String) -> [String] {
        ScreenText.wrapped(text, columns: Self.width, indent: "")
    }

    // MARK: Lines

    /// `-o, --output <output>`, as tables have it.
    static func label(of argument: CommandFacts.Argument) -> String {
        guard argument.kind != .positional else { return "<\(argument.valueName)>" }
        let names = argument.names.joined(separator: ", ")
        return argument.kind == .flag ? names : "\(names) <\(argument.valueName)>"
    }

    /// A name and what is said of it, in lines.
    private static func row(_ name: String, _ text: String) -> [String] {
        let margin = String(repeating: " ", count: textColumn)
        let words = text.split(separator: " ").map(String.init)
        let start = String(repeating: " ", count: indent) + name
        let isLong = start.count >= textColumn - 1
        let first = isLong ? margin : start + String(repeating: " ", count: textColumn - start.count)
        let lines = ScreenText.filled(words, columns: width, first: first, rest: margin)
        return isLong ? [start] + lines : lines
    }

    /// A command line that a shell reads, broken where it is too long.
    static func brokenCall(_ call: String) -> [String] {
        // A quoted text stays in one line.
        var words: [String] = []
        for word in call.split(separator: " ").map(String.init) {
            if let last = words.last, last.count(where: { $0 == "\"" || $0 == "'" }) % 2 == 1 {
                words[words.count - 1] = last + " " + word
            } else {
                words.append(word)
            }
        }
        let lines = ScreenText.filled(words, columns: width - 2, rest: "    ")
        return lines.enumerated().map { $0 + 1 < lines.count ? $1 + " \\" : $1 }
    }
}
