import ArgumentParser

// What is said of a command line that is wrong.

extension RootCommand {
    /// A message of the parser's, which may be a sentence and a list below it, on one line and without a full stop.
    static func sentence(_ message: String) -> String {
        let lines = message.split(whereSeparator: \.isNewline).map { line in
            let words = line.drop { $0.isWhitespace }
            return words.hasPrefix("- ") ? words.dropFirst(2) : words
        }
        let list = lines.dropFirst().joined(separator: ", ")
        let text = [lines.first.map(String.init) ?? "", list].filter { !$0.isEmpty }.joined(separator: " ")
        return text.hasSuffix(".") ? String(text.dropLast()) : text
    }

    /// A message of the parser's, with the values to choose among where it says that an option with few is missing.
    static func withValues(_ message: String) -> String {
        guard message.hasPrefix("Missing expected argument '--"), let command = givenCommand,
            let facts = CommandFacts.program.command(command)
        else { return message }
        let option = facts.options.first { option in
            !option.values.isEmpty && option.names.contains { message.contains("'\($0) ") }
        }
        return message + (option.map { ", one of \($0.values.joined(separator: ", "))" } ?? "")
    }

    /// What to say of an option that there is none of, with those that may have been meant; nil for what the parser says
    /// of something else. Where it says that something is missing, a mistyped option may be why.
    static func unknownOption(_ message: String, in arguments: [String]) -> String? {
        let mark = "Unknown option '"
        let facts = givenCommand.flatMap { CommandFacts.program.command($0) } ?? CommandFacts.program
        var name: String?
        if message.hasPrefix(mark), let end = message.dropFirst(mark.count).firstIndex(of: "'") {
            name = String(message.dropFirst(mark.count)[..<end])
        } else if message.hasPrefix("Missing expected argument") {
            name = facts.unknownOption(in: arguments)
        }
        guard let name else { return nil }
        let plain = OptionAlias.name(spelled: String(name.drop { $0 == "-" }))
        /// The nearest among the names of options.
        func near(_ options: [CommandFacts.Argument]) -> [String] {
            let known = options.flatMap(\.names).filter { $0.hasPrefix("--") }.map { String($0.dropFirst(2)) }
            let words =
                CommandShape(of: facts.name).map { NearWords.options(plain, among: known, in: $0) }
                ?? NearWords.words(plain, among: known)
            return words.map { "--" + $0 }
        }
        let question = NearWords.question(near(facts.options)) ?? NearWords.question(near(facts.arguments))
        return "Unknown option '\(name)'" + (question.map { " (\($0))" } ?? "")
    }

    /// What to say of a path that begins with `~`, which came through as it is.
    static func homeHint(_ text: String) -> String {
        guard text.hasPrefix("~") else { return "" }
        return "; only a shell puts the home folder in place of '~', where that begins a word: write the path out"
    }

    /// The command that was given.
    static var givenCommand: String? { CommandLine.arguments.dropFirst().first(where: commandNames.contains) }
}
