/// A name that another program has for something that an option here says, or for what there is none for.
struct OptionAlias {
    /// What it stands for.
    enum Meaning {
        /// The first of these options that the command has.
        case option([String])
        /// The command's positional argument, or its option `--base`.
        case positional
        /// Nothing that an option here could say; why, and what to do.
        case refused(String)
    }

    /// The name without its dashes, words joined by hyphens; one that has a single dash with it.
    let name: String
    /// What it stands for.
    let meaning: Meaning
    /// How its values are rewritten.
    var conversion = ValueConversion.none
    /// Options beside which the name means something else, with why.
    var notBeside: [String: String] = [:]
    /// Values, in small letters, that a refused name may have, since they say what is so.
    var harmless: Set<String> = []
    /// The commands where it means this; nil for all that have the option.
    var commands: Set<String>?
}

/// How a value of another program's option becomes one of ours.
enum ValueConversion {
    /// As it stands.
    case none
    /// These words become others; another is taken as it stands, or refused where `others` says why.
    case words([String: String], others: String? = nil)
    /// A share from 0 to below 1 becomes percent; 0 stays.
    case share
    /// `true` sets the flag, `false` does not; another value is refused for the reason.
    case flag(others: String? = nil)
    /// `true` gives the option this value, `false` leaves it out.
    case setting(String)
}

extension OptionAlias {
    /// Every name. Ours always win: a name that a command has itself is never looked up here.
    static let all = list([training, trainer, adapters, records, computing, sampling, llama, outputs, models])

    private static let byName = Dictionary(grouping: all, by: \.name)

    /// What a name means in a command, by order of preference.
    static func all(named name: String, in command: String) -> [OptionAlias] {
        (byName[name] ?? []).filter { $0.commands?.contains(command) ?? true }
    }

    /// How names are written here, of an option with its dashes or of a key of a file.
    static func name(spelled spelling: String) -> String {
        if spelling.hasPrefix("-"), !spelling.hasPrefix("--") { return spelling }
        return String((spelling.hasPrefix("--") ? spelling.dropFirst(2) : spelling[...]).map { $0 == "_" ? "-" : $0 })
    }

    /// Whether a name that is refused has a value that says what is so anyway.
    static func isHarmless(_ spelling: String, _ value: String, in shape: CommandShape) -> Bool {
        let name = name(spelled: spelling)
        guard shape.option(spelled: spelling) == nil, shape.option(name) == nil else { return false }
        return all(named: name, in: shape.command).contains { $0.harmless.contains(value.lowercased()) }
    }

    /// The option of a command that it stands for; nil where there is none.
    func target(in shape: CommandShape) -> String? {
        guard commands?.contains(shape.command) ?? true, case .option(let names) = meaning else { return nil }
        return names.first { shape.option($0) != nil }
    }

    // MARK: Making them

    /// All of some lists.
    static func list(_ lists: [[OptionAlias]]) -> [OptionAlias] { lists.flatMap { $0 } }

    static func to(_ target: String, _ names: [String], in commands: Set<String>? = nil) -> [OptionAlias] {
        names.map { OptionAlias(name: $0, meaning: .option([target]), commands: commands) }
    }

    static func refused(
        _ reason: String, _ names: [String], unless harmless: Set<String> = [], in commands: Set<String>? = nil
    ) -> [OptionAlias] {
        names.map { OptionAlias(name: $0, meaning: .refused(reason), harmless: harmless, commands: commands) }
    }

    static func flag(
        _ target: String, _ names: [String], others: String? = nil, in commands: Set<String>? = nil
    ) -> [OptionAlias] {
        names.map {
            OptionAlias(
                name: $0, meaning: .option([target]), conversion: .flag(others: others), commands: commands)
        }
    }

    static func words(
        _ target: String, _ names: [String], _ words: [String: String], others: String? = nil
    ) -> [OptionAlias] {
        names.map {
            OptionAlias(name: $0, meaning: .option([target]), conversion: .words(words, others: others))
        }
    }
}
