import ArgumentParser
import CheckpointIO
import TensorCore

/// The program's arguments as the parser gets them: other programs' names in ours, and the settings of `--config` as
/// options.
struct CommandWords {
    /// The words, the command's name first.
    let words: [String]
    /// Which key of the config file each of its options came from, by the option's spelling.
    private let origins: [String: ConfigWords.Origin]

    /// The arguments as given, rewritten. Throws `ValidationError` for names that contradict each other, and
    /// `ConfigError` or `CheckpointError` for a config file.
    init(_ arguments: [String]) throws {
        let translated = try ArgumentTranslation.translated(arguments)
        guard let (path, rest) = try Self.config(in: translated), let shape = CommandShape(of: rest[0]) else {
            (words, origins) = (translated, [:])
            return
        }
        let config = try ConfigWords(try SettingsFile.read(path), shape, givenBeside: rest)
        words = [rest[0]] + config.options + rest.dropFirst() + config.positionals
        origins = config.origins
    }

    /// No words yet.
    init() { (words, origins) = ([], [:]) }

    /// The file and line that a message of the parser's speaks of, where the option came from there.
    func place(of message: String) -> String? {
        let words = message.split { !($0.isLetter || $0.isNumber || $0 == "-") }
        return words.lazy.compactMap { origins[String($0)] }.first.map { "\($0.file), line \($0.line)" }
    }

    /// The file of `--config` and the words without it; nil where there is none, or help is asked for.
    private static func config(in words: [String]) throws -> (path: String, rest: [String])? {
        let end = words.firstIndex(of: "--") ?? words.endIndex
        var rest = words
        var path: String?
        var place = end
        while place > 0 {
            place -= 1
            let word = words[place]
            if ["--help", "-h", "--version"].contains(word) { return nil }
            let value: String
            if word == "--config", place + 1 < end {
                value = words[place + 1]
                rest.removeSubrange(place...place + 1)
            } else if word.hasPrefix("--config=") {
                value = String(word.dropFirst("--config=".count))
                rest.remove(at: place)
            } else {
                continue
            }
            path = value
        }
        guard let path, !rest.isEmpty else { return nil }
        return (path, rest)
    }
}
