import Adapters
import CheckpointIO
import Models
import TensorCore
import Transforms
import TSPEFT

/// What may stand next on a command line, for shells: their scripts (`CompletionScripts`) hand over the words and show
/// what comes back.
struct Completion {
    /// What the word may be.
    enum Answer: Equatable {
        /// One of these, each with a word about it, which may be empty.
        case words([Word])
        /// A file whose name has one of these endings, any file where there are none; directories lead to them.
        case files(endings: [String])
        case directories
    }

    /// A word and what it means.
    struct Word: Equatable {
        let text: String
        var meaning = ""
    }

    /// The words before the one that is asked for, the program's name left out.
    private let before: [String]
    /// What is there of the word already.
    private let start: String
    private let program = CommandFacts.program

    /// The answer for a line whose last word, maybe empty, is to be completed.
    static func answer(_ words: [String]) -> Answer {
        Completion(before: Array(words.dropLast()), start: words.last ?? "").answer
    }

    /// The answer as scripts read it: what it is, then a word a line, with its meaning behind a tab.
    static func text(_ words: [String]) -> String {
        switch answer(words) {
        case .words(let words):
            (["words"] + words.map { $0.meaning.isEmpty ? $0.text : "\($0.text)\t\($0.meaning)" })
                .joined(separator: "\n")
        case .files(let endings): (["files"] + endings).joined(separator: " ")
        case .directories: "directories"
        }
    }

    private var answer: Answer {
        guard let name = before.first else {
            let commands = program.commands.map { Word(text: $0.name, meaning: $0.abstract) }
            return matching(start.hasPrefix("-") ? options(of: program) : commands)
        }
        if name == "help" {
            return before.count == 1 ? matching(program.commands.map { Word(text: $0.name) }) : .words([])
        }
        guard let command = program.command(name) else { return .words([]) }
        return answer(in: command)
    }

    private func answer(in command: CommandFacts) -> Answer {
        var words = before
        var start = start
        // Shells that split at = hand it over as a word.
        if start == "=" { (words, start) = (words + ["="], "") }
        if words.last == "=" { words.removeLast() }
        let isOpen = !words.contains("--")
        if isOpen, let name = words.last, let option = option(name, command) {
            return values(of: option, in: command, start, prefix: "")
        }
        if isOpen, start.hasPrefix("--"), let equals = start.firstIndex(of: "="),
            let option = option(String(start[..<equals]), command)
        {
            let prefix = start[...equals]
            return values(of: option, in: command, String(start[start.index(after: equals)...]), prefix: String(prefix))
        }
        if isOpen, start.hasPrefix("-") {
            let used = Set(words.filter { $0.hasPrefix("-") })
            return matching(options(of: command, without: used))
        }
        let place = positionals(in: command).count
        guard command.positionals.indices.contains(place) else {
            return isOpen ? matching(options(of: command, without: Set(words))) : .words([])
        }
        return values(of: command.positionals[place], in: command, start, prefix: "")
    }

    /// The option of this name that takes a value.
    private func option(_ name: String, _ command: CommandFacts) -> CommandFacts.Argument? {
        command.arguments.first { $0.kind == .option && $0.names.contains(name) }
    }

    private func options(of command: CommandFacts, without used: Set<String> = []) -> [Word] {
        command.options.filter { option in option.isRepeating || !option.names.contains(where: used.contains) }.map {
            Word(text: $0.name, meaning: Self.firstWords(of: $0.text))
        }
    }

    /// What was given without a name, after the command.
    private func positionals(in command: CommandFacts) -> [String] {
        var found: [String] = []
        var words = before.dropFirst()
        while let word = words.popFirst() {
            if word == "--" { return found + words }
            if word.hasPrefix("-"), word != "-" {
                if option(word, command) != nil { words = words.dropFirst() }
            } else {
                found.append(word)
            }
        }
        return found
    }

    private func matching(_ words: [Word]) -> Answer { .words(words.filter { $0.text.hasPrefix(start) }) }

    /// A text up to its first full stop or the like, for a list of words.
    private static func firstWords(of text: String) -> String {
        let end = text.firstIndex { ".;(".contains($0) } ?? text.endIndex
        let words = text[..<end]
        return String(words.last == " " ? words.dropLast() : words)
    }
}

// MARK: Values

extension Completion {
    /// Endings of files that hold records.
    private static let recordEndings = ["json", "jsonl", "zst", "gz", "txt"]
    /// Endings of files that hold a model.
    private static let modelEndings = ["gguf", "safetensors", "safetensors.zst", "index.json"]

    /// What the value of an argument may be; `prefix` stands before it in the same word.
    private func values(
        of argument: CommandFacts.Argument, in command: CommandFacts, _ start: String, prefix: String
    ) -> Answer {
        func words(_ all: [String]) -> Answer {
            .words(all.filter { $0.hasPrefix(start) }.map { Word(text: prefix + $0) })
        }
        /// Words between commas, the last of which is asked for.
        func list(_ all: [String]) -> Answer {
            let done = start.lastIndex(of: ",").map { String(start[...$0]) } ?? ""
            let given = Set(done.split(separator: ",").map(String.init))
            return words(all.filter { !given.contains($0) }.map { done + $0 })
        }
        if !argument.values.isEmpty { return words(argument.values) }
        switch argument.names.last ?? argument.valueName {
        case "--type", "--changed-type":
            return words(QuantizationMix.all.map { $0.name.lowercased() })
        case "--by": return words(RankingRules.all.map(\.name))
        case "--preset": return words(Preset.all.map(\.name))
        case "--method": return words(AdapterKind.methodNames)
        case "--keep": return words(["25%", "50%", "75%"])
        case "--modules-to-save": return list(["lm_head", "embed_tokens"])
        case "--targets", "--exclude":
            return list((start.contains(",") ? [] : ["all-linear"]) + moduleNames(command))
        case "--data", "--eval-data": return .files(endings: Self.recordEndings)
        case "--adapter": return .files(endings: ["zst"])
        case "--select": return .files(endings: ["json"])
        case "--config": return .files(endings: ["yaml", "yml", "json"])
        case "--base", "--against", "base": return .files(endings: Self.modelEndings)
        case "--output", "--fixtures": return argument.names.contains("--fixtures") ? .directories : .files(endings: [])
        case "adapter": return .files(endings: ["zst"])
        case "input", "path", "other": return .files(endings: [])
        case "shell": return words(CompletionScripts.shells)
        default: break
        }
        switch argument.files {
        case .directories: return .directories
        case .files(let endings): return .files(endings: endings)
        case nil: break
        }
        switch argument.valueName {
        case "directory", "folder", "dir": return .directories
        case "file", "files", "path": return .files(endings: [])
        default: return .words([])
        }
    }

    /// The last parts of the names of a base's linear layers, where the line names one that can be read.
    private func moduleNames(_ command: CommandFacts) -> [String] {
        guard command.positionals.first?.valueName == "base", let path = positionals(in: command).first,
            let base = try? ModelCheckpoint.open(path)
        else { return [] }
        var seen: NameSet = []
        return base.linearModules.compactMap { module in
            let name = String(module.path.split(separator: ".").last ?? "")
            return seen.insert(name).inserted ? name : nil
        }
    }
}
