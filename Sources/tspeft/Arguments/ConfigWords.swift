import Adapters
import ArgumentParser
import CheckpointIO
import TensorCore

/// Why a file of settings cannot be used.
enum ConfigError: ReportableError, Equatable {
    /// A key that the command has no option for.
    case unknownKey(String, at: ConfigWords.Origin, command: String, near: [String])
    /// A key that means something else; why.
    case refusedKey(at: ConfigWords.Origin, problem: String)
    /// Two keys for one option.
    case twice(String, at: ConfigWords.Origin, first: ConfigWords.Origin)
    /// A value of the wrong type.
    case wrongType(String, at: ConfigWords.Origin, expected: String, found: String)

    var description: String {
        switch self {
        case .unknownKey(let key, let place, let command, let near):
            "\(place): '\(key)' is no option of 'tspeft \(command)'"
                + (NearWords.question(near).map { " (\($0))" } ?? "")
        case .refusedKey(let place, let problem): "\(place): \(problem)"
        case .twice(let key, let place, let first):
            first.key == place.key
                ? "\(place): '\(key)' stands in line \(first.line) already"
                : "\(place): '\(place.key)' and '\(first.key)' in line \(first.line) are two names of one option"
        case .wrongType(let key, let place, let expected, let found):
            "\(place): '\(key)' takes \(expected), not \(found)"
        }
    }

    var exitStatus: ExitStatus { .badData }
}

/// The settings of a file as words of the command line.
struct ConfigWords {
    /// Where a setting stands.
    struct Origin: Equatable, CustomStringConvertible {
        let file: String
        let line: Int
        let key: String

        var description: String { "\(file), line \(line)" }
    }

    /// Options with their values.
    private(set) var options: [String] = []
    /// Positional arguments, for the places that the command line leaves.
    private(set) var positionals: [String] = []
    /// Where each option came from, by its spelling.
    private(set) var origins: [String: Origin] = [:]

    /// Options whose one value is names with commas between them, which a file may have as a list.
    static let nameLists: Set<String> = [
        "targets", "target-parameters", "exclude", "layers", "modules-to-save", "feedforward-modules",
    ]
    /// Options of which one on the command line stands in for the other in the file.
    static let rivals = [["steps", "epochs"], ["val-split", "eval-data"]]

    private let shape: CommandShape
    private let file: String

    /// The words of `settings` for a command, without what is given `beside` them on the command line, which wins.
    init(_ settings: SettingsFile, _ shape: CommandShape, givenBeside beside: [String]) throws {
        self.shape = shape
        file = settings.path
        let given = try GivenWords(beside.dropFirst(), shape)
        let givenNames = Set(given.options.map(\.meaning.target.name))
        var first: [String: Origin] = [:]
        var places: [String: [String]] = [:]
        for entry in settings.entries {
            let origin = Origin(file: file, line: entry.line, key: entry.key)
            if case .scalar(let scalar) = entry.value, OptionAlias.isHarmless(entry.key, scalar.text, in: shape) {
                continue
            }
            let translated = try option(entry.key, origin)
            let target = translated.target
            if let other = first[target.name] { throw ConfigError.twice(entry.key, at: origin, first: other) }
            first[target.name] = origin
            let values = try values(entry.value, for: translated, origin)
            if values.isEmpty || givenNames.contains(target.name) { continue }
            if Self.rivals.contains(where: { $0.contains(target.name) && !givenNames.isDisjoint(with: $0) }) {
                continue
            }
            if target.isPositional {
                places[target.name] = values
                continue
            }
            options += values
            for spelling in target.spellings { origins[spelling] = origin }
        }
        try checkMeanings(first)
        positionals = shape.arguments.filter(\.isPositional).dropFirst(given.positionalCount)
            .flatMap { places[$0.name] ?? [] }
    }

    /// The option of a key; throws for a key that names none.
    private func option(_ key: String, _ origin: Origin) throws -> Translated {
        let name = OptionAlias.name(spelled: key)
        if let own = shape.option(key), !Self.others.contains(own.name) { return Translated(own, key) }
        if let own = shape.arguments.first(where: { $0.isPositional && $0.name == name }) {
            return Translated(own, key)
        }
        do {
            if !Self.others.contains(name), key.first != "-", let translated = try Translated(key, in: shape) {
                return translated
            }
        } catch let error as ValidationError {
            throw ConfigError.refusedKey(at: origin, problem: error.message)
        }
        let known = shape.arguments.map(\.name).filter { !Self.others.contains($0) }
        throw ConfigError.unknownKey(
            key.beginning(60), at: origin, command: shape.command,
            near: NearWords.options(name, among: known, in: shape))
    }

    /// Options that say nothing of what is done.
    private static let others: Set<String> = ["config", "help", "version"]

    /// Throws for an alias beside an option that changes its meaning.
    private func checkMeanings(_ origins: [String: Origin]) throws {
        for origin in origins.values.sorted(by: { $0.line < $1.line }) {
            guard let alias = try? Translated(origin.key, in: shape)?.alias else { continue }
            for (name, reason) in alias.notBeside.sorted(by: { $0.key < $1.key }) where origins[name] != nil {
                throw ConfigError.refusedKey(at: origin, problem: "'\(origin.key)' beside '\(name)': \(reason)")
            }
        }
    }

    /// The words for a value; none for null and for a flag that is not set.
    private func values(
        _ value: SettingsFile.Value, for option: Translated, _ origin: Origin
    ) throws -> [String] {
        let target = option.target
        do {
            switch value {
            case .scalar(let scalar):
                if scalar.isNull { return [] }
                if scalar.truth == nil && option.isSwitch && !option.refusesValues {
                    throw ConfigError.wrongType(
                        origin.key, at: origin, expected: "true or false", found: "'\(scalar.text.beginning(60))'")
                }
                if let truth = scalar.truth, !option.isSwitch {
                    throw ConfigError.wrongType(
                        origin.key, at: origin, expected: "a value", found: truth ? "true" : "false")
                }
                return try option.words(scalar.text)
            case .list(let list):
                guard !option.isSwitch, target.isRepeating || Self.nameLists.contains(target.name) else {
                    throw ConfigError.wrongType(
                        origin.key, at: origin, expected: option.isSwitch ? "true or false" : "one value",
                        found: "a list")
                }
                if let odd = list.first(where: { $0.isNull || $0.truth != nil }) {
                    throw ConfigError.wrongType(
                        origin.key, at: origin, expected: "a list of values",
                        found: "one with '\(odd.text.beginning(60))' in it")
                }
                if list.isEmpty { return [] }
                if target.isRepeating { return try list.flatMap { try option.words($0.text) } }
                return try option.words(list.map(\.text).joined(separator: ","))
            }
        } catch let error as ValidationError {
            throw ConfigError.refusedKey(at: origin, problem: error.message)
        }
    }
}
