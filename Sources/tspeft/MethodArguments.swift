import Adapters
import ArgumentParser
import CheckpointIO
import TSPEFT

/// Which of the methods' numbers a section of the help has.
protocol MethodSection {
    /// Whether the numbers that `owners` have belong here.
    static func holds(ownedBy owners: [AdapterKind]) -> Bool
}

/// Numbers of most methods, and those of one that no other section is for.
enum CommonNumbers: MethodSection {
    static func holds(ownedBy owners: [AdapterKind]) -> Bool {
        !LowRankNumbers.holds(ownedBy: owners) && !AdaLoRANumbers.holds(ownedBy: owners)
            && !OtherNumbers.holds(ownedBy: owners)
    }
}

/// Numbers of LoRA's kin alone, but for alpha, which everybody gives.
enum LowRankNumbers: MethodSection {
    static func holds(ownedBy owners: [AdapterKind]) -> Bool {
        owners == [.lora] || owners == [.lora, .dora]
    }
}

/// Numbers of AdaLoRA alone.
enum AdaLoRANumbers: MethodSection {
    static func holds(ownedBy owners: [AdapterKind]) -> Bool { owners == [.adalora] }
}

/// Numbers of one of the other methods alone.
enum OtherNumbers: MethodSection {
    static func holds(ownedBy owners: [AdapterKind]) -> Bool {
        owners == [.adapter] || owners == [.vera] || owners == [.ia3]
    }
}

/// The numbers of a new adapter: an option for each `MethodOption` of any method that the section holds. A method so
/// brings its options with it; which belong to which method is for `MethodOptions` to say.
///
/// The parser finds a type's options by reflection and has it decode them by name, so this type reflects options that
/// it makes from the table, and decodes each by its key.
struct MethodArguments<Section: MethodSection>: ParsableArguments, CustomReflectable {
    /// The options that were given.
    private(set) var options = MethodOptions()
    /// What is wrong with several values of an option together, which the parser cannot word while it decodes.
    private var problem: String?

    init() {}

    init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: OptionKey.self)
        for option in Self.table {
            do {
                options[option.key] = try Self.argument(option).value(container, OptionKey(option.key))
            } catch let error as RepeatedName {
                problem = "\(OptionWords.option(ofMethodKey: option.key)) gives '\(error.name)' twice"
            }
        }
    }

    func validate() throws {
        if let problem { throw ValidationError(problem) }
    }

    var customMirror: Mirror {
        Mirror(self, children: Self.table.map { ("_" + $0.key, Self.argument($0).wrapper) })
    }

    /// The section's options.
    private static var table: [MethodOption] {
        MethodOptions.all.filter { Section.holds(ownedBy: MethodOptions.owners(of: $0.key)) }
    }

    /// A key of the parser's.
    private struct OptionKey: CodingKey {
        let stringValue: String
        var intValue: Int? { nil }

        init(_ key: String) { stringValue = key }
        init?(stringValue: String) { self.init(stringValue) }
        init?(intValue: Int) { nil }
    }

    /// An option as the parser declares it, and how its value is taken from what was parsed.
    private struct Argument {
        let wrapper: Any
        let value: (KeyedDecodingContainer<OptionKey>, OptionKey) throws -> JSONValue?
    }

    private static func argument(_ option: MethodOption) -> Argument {
        let name = NameSpecification(spellings(of: option.key).map { .customLong($0) })
        let help = ArgumentHelp(
            "\(helpText(option))",
            valueName: option.valueName ?? OptionWords.option(ofMethodKey: option.key).droppingDashes)
        switch option.form {
        case .flag:
            let wrapper = Flag(wrappedValue: false, name: name, help: help)
            return Argument(wrapper: wrapper) { container, key in
                try container.decode(Flag<Bool>.self, forKey: key).wrappedValue ? .bool(true) : nil
            }
        case .integer:
            return single(Option<Int?>(name: name, help: help)) { .integer($0) }
        case .number:
            let wrapper = Option<Double?>(
                name: name, help: help,
                transform: { text in
                    guard let value = Double(text), value.isFinite else {
                        throw ValidationError("'\(text)' is no number")
                    }
                    return value
                })
            return single(wrapper) { .real($0) }
        case .text:
            return single(Option<String?>(name: name, help: help)) { .string($0) }
        case .word(let words):
            let wrapper = Option<String?>(
                name: name, help: help, completion: .list(words),
                transform: { text in
                    guard words.contains(text) else {
                        throw ValidationError("'\(text)' is none of \(words.joined(separator: ", "))")
                    }
                    return text
                })
            return single(wrapper) { .string($0) }
        case .integers:
            return pairs(name, help, "rank") { Int($0).map { .integer($0) } }
        case .numbers:
            return pairs(name, help, "number") { Double($0).flatMap { $0.isFinite ? .real($0) : nil } }
        }
    }

    private static func single<Value>(
        _ wrapper: Option<Value?>, _ json: @escaping (Value) -> JSONValue
    ) -> Argument {
        Argument(wrapper: wrapper) { container, key in
            try container.decode(Option<Value?>.self, forKey: key).wrappedValue.map(json)
        }
    }

    /// An option `name=value` that can be repeated, each name once.
    private static func pairs(
        _ name: NameSpecification, _ help: ArgumentHelp, _ what: String,
        _ json: @escaping @Sendable (String) -> JSONValue?
    ) -> Argument {
        let wrapper = Option<[String]>(
            wrappedValue: [], name: name, help: help,
            transform: { text in
                _ = try NamedValue(text, what, json)
                return text
            })
        return Argument(wrapper: wrapper) { container, place in
            let texts = try container.decode(Option<[String]>.self, forKey: place).wrappedValue
            if texts.isEmpty { return nil }
            return .object(
                try texts.reduce(into: JSONObject()) { object, text in
                    let named = try NamedValue(text, what, json)
                    guard object[named.name] == nil else { throw RepeatedName(name: named.name) }
                    object[named.name] = named.value
                })
        }
    }

    /// The spellings of a key: words joined by dashes, and peft's own where that joins them by a capital.
    private static func spellings(of key: String) -> [String] {
        let name = OptionWords.option(ofMethodKey: key).droppingDashes
        return key.contains(where: \.isUppercase) ? [name, key] : [name]
    }

    /// The methods that have an option, or the one that lacks it.
    private static func ownersText(_ owners: [AdapterKind]) -> String {
        let others = AdapterKind.allCases.filter { !owners.contains($0) }
        return others.count == 1 ? "all but \(others[0])" : owners.map(\.name).joined(separator: ", ")
    }

    /// What an option means, for which methods, and what it is where it is not given.
    private static func helpText(_ option: MethodOption) -> String {
        let owners = MethodOptions.owners(of: option.key)
        let isCommon = owners.count == AdapterKind.allCases.count
        var text = isCommon ? option.help.prefix(1).uppercased() + option.help.dropFirst() : option.help
        if !isCommon { text = "\(ownersText(owners)): " + text }
        if let other = option.sameAs { text += ", as \(OptionWords.option(ofMethodKey: other))" }
        text += "."
        guard let initial = option.initial else {
            if option.isByPattern { return text + " (default: none)" }
            return option.sameAs.map { text + " (default: that of \(OptionWords.option(ofMethodKey: $0)))" } ?? text
        }
        let others = owners.compactMap { owner in
            owner.settings.options.first { $0.key == option.key }?.initial.flatMap { own in
                own == initial ? nil : "\(owner) \(own)"
            }
        }
        return text + " (default: \(([initial] + others).joined(separator: "; ")))"
    }
}

extension String {
    fileprivate var droppingDashes: String { String(drop { $0 == "-" }) }
}

/// A name that two values `name=value` of an option have.
private struct RepeatedName: Error { let name: String }

/// A value `name=value` of an option. Taken apart by the parser's transform and once more afterwards, since the parser
/// words only what is wrong with a single value.
private struct NamedValue {
    let name: String
    let value: JSONValue

    /// Throws `ValidationError` where the text is no such value, or `json` makes nothing of it, which then is no `what`.
    init(_ text: String, _ what: String, _ json: (String) -> JSONValue?) throws {
        guard let mark = text.lastIndex(of: "="), mark != text.startIndex else {
            throw ValidationError("'\(text)' should have the form name=value")
        }
        let value = String(text[text.index(after: mark)...])
        guard let json = json(value) else { throw ValidationError("\(value) is no \(what)") }
        (name, self.value) = (String(text[..<mark]), json)
    }
}
