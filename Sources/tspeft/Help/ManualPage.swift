import TensorCore

/// The manual page of a command, in the macros of mdoc(7).
struct ManualPage {
    /// The word by which `.ci/manual` asks: alone for the names of the pages, with a name and a date for one.
    static let request = "---manual"

    private let facts: CommandFacts
    private let isRoot: Bool
    private var lines: [String] = []

    /// The page of a command, or of the program itself, a text without a line's end.
    ///
    /// - Parameter date: what the page says of its age, as `November 22, 2026`.
    static func text(of facts: CommandFacts, isRoot: Bool, date: String) -> String {
        var page = ManualPage(facts: facts, isRoot: isRoot)
        page.write(date)
        return page.lines.joined(separator: "\n")
    }

    private var name: String { isRoot ? "tspeft" : "tspeft \(facts.name)" }

    private mutating func write(_ date: String) {
        let file = isRoot ? "TSPEFT" : "TSPEFT.\(facts.name.uppercased())"
        lines = [
            ".\\\" Written by .ci/manual from the program's own description of its commands.", ".Dd \(date)",
            ".Dt \(file) 1", ".Os", ".Sh NAME", ".Nm \"\(name)\"", ".Nd \"\(escaped(facts.abstract))\"",
        ]
        addSynopsis()
        if !facts.paragraphs.isEmpty {
            lines.append(".Sh DESCRIPTION")
            for (index, paragraph) in facts.paragraphs.enumerated() {
                if index > 0 { lines.append(".Pp") }
                for (line, text) in paragraph.split(separator: "\n").enumerated() {
                    if line > 0 { lines.append(".br") }
                    lines.append(escaped(String(text)))
                }
            }
        }
        if isRoot {
            lines.append(".Sh COMMANDS")
            addList(facts.commands.filter { $0.name != "help" }.map { ("Cm \($0.name)", $0.abstract) })
        }
        addTable("ARGUMENTS", facts.positionals)
        for section in facts.sections { addTable(section.title.uppercased(), section.options) }
        addExitStatus()
        addExamples()
        addSeeAlso()
    }

    private mutating func addSynopsis() {
        lines += [".Sh SYNOPSIS", ".Nm"]
        if isRoot { lines += [".Ar command", ".Op Ar arguments ..."] }
        for argument in facts.positionals {
            lines.append((argument.isRequired ? ".Ar " : ".Op Ar ") + argument.valueName)
        }
        for option in facts.options.filter(\.isRequired) {
            lines.append(".\(flag(option.names[0])) Ar \(option.valueName)" + (option.isRepeating ? " ..." : ""))
        }
        if !isRoot { lines.append(".Op Ar options") }
    }

    private mutating func addTable(_ title: String, _ arguments: [CommandFacts.Argument]) {
        guard !arguments.isEmpty else { return }
        lines.append(".Sh \"\(title)\"")
        addList(arguments.map { (label(of: $0), $0.text) })
    }

    private mutating func addList(_ items: [(label: String, text: String)]) {
        lines.append(".Bl -tag -width 6n")
        for item in items { lines += [".It \(item.label)", escaped(item.text)] }
        lines.append(".El")
    }

    private mutating func addExamples() {
        guard !facts.examples.isEmpty else { return }
        lines += [".Sh EXAMPLES", ".Bd -literal"]
        for example in facts.examples {
            lines += HelpText.brokenCall(example).map(escaped)
        }
        lines.append(".Ed")
    }

    private mutating func addExitStatus() {
        lines.append(".Sh \"EXIT STATUS\"")
        addList(RootCommand.exitCodes.map { ("Sy \($0.code)", $0.meaning) })
    }

    private mutating func addSeeAlso() {
        let others = isRoot ? CommandFacts.program.commands.map { "tspeft.\($0.name)" } : ["tspeft"]
        lines.append(".Sh \"SEE ALSO\"")
        for (index, other) in others.enumerated() {
            lines.append(".Xr \(other) 1" + (index + 1 < others.count ? " ," : ""))
        }
    }

    /// A name with dashes in mdoc's words, which put the first dash.
    private func flag(_ name: String) -> String {
        "Fl " + String(name.dropFirst()).map { $0 == "-" ? "\\-" : String($0) }.joined()
    }

    private func label(of argument: CommandFacts.Argument) -> String {
        guard argument.kind != .positional else { return "Ar \(argument.valueName)" }
        let names = argument.names.map(flag).joined(separator: " , ")
        return argument.kind == .flag ? names : "\(names) Ar \(argument.valueName)"
    }

    /// Text that no formatter takes for its own: backslashes and hyphens of options stay as they are, and a line never
    /// begins with a control character.
    private func escaped(_ text: String) -> String {
        var result = ""
        for character in text {
            switch character {
            case "\\": result += "\\e"
            case "-": result += "\\-"
            default: result.append(character)
            }
        }
        return result.hasPrefix(".") || result.hasPrefix("'") ? "\\&" + result : result
    }
}
