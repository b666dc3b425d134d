/// A way in which a family's modules are named in memory (by transformers 5) and in the files that it publishes.
///
/// Patterns are components; `#` is any number, and `^` at the beginning holds a pattern to the beginning of a name. Names of
/// both sides are found: of the files' in adapters that older releases made, of the memory's in files that were saved so.
struct NamingFamily: Sendable {
    /// One name for another.
    struct Rule: Sendable {
        let model: [Substring]
        let files: [Substring]
        let isAnchored: Bool

        init(_ model: String, _ files: String) {
            isAnchored = model.hasPrefix("^")
            self.model = NamePath.components(model.replacing("^", with: ""))
            self.files = NamePath.components(files.replacing("^", with: ""))
        }
    }

    /// A tensor in the files that holds the rows of several modules.
    struct Fusion: Sendable {
        let whole: String
        let parts: [String]
        /// Whether their rows lie in turn, one of each, and not one module behind the other.
        let isInTurn: Bool

        init(_ whole: String, of parts: String...) {
            (self.whole, self.parts, isInTurn) = (whole, parts, false)
        }

        init(_ whole: String, inTurn parts: String...) {
            (self.whole, self.parts, isInTurn) = (whole, parts, true)
        }
    }

    /// Values of `model_type`.
    let modelTypes: Set<String>
    private let byModel: [Rule]
    private let byFiles: [Rule]
    /// The first components of all patterns: a name without any of them is left as it is.
    let firstWords: Set<Substring>
    /// Tensors that hold several modules.
    let fusions: [Fusion]

    init(_ modelTypes: Set<String>, _ rules: [Rule], fusions: [Fusion] = []) {
        self.modelTypes = modelTypes
        // The longest pattern first: `attention.output.dense` is no `output.dense`.
        byModel = rules.sorted { $0.model.count > $1.model.count }
        byFiles = rules.sorted { $0.files.count > $1.files.count }
        firstWords = Set(rules.flatMap { [$0.model[0], $0.files[0]] })
        self.fusions = fusions
    }

    /// `path`, which may be a pattern, with the files' names for the memory's; nil where it has none of these.
    func filesName(of path: String) -> String? { renamed(path, byModel, from: \.model, to: \.files) }

    /// `path`, which may be a pattern, with the memory's names for the files'; nil where it has none of these.
    func modelName(of path: String) -> String? { renamed(path, byFiles, from: \.files, to: \.model) }

    /// `path` with either side's names for the other's.
    func otherNames(of path: String) -> [String] { [filesName(of: path), modelName(of: path)].compactMap(\.self) }

    private func renamed(
        _ path: String, _ rules: [Rule], from: KeyPath<Rule, [Substring]>, to: KeyPath<Rule, [Substring]>
    ) -> String? {
        let components = NamePath.components(path)
        guard components.contains(where: firstWords.contains) else { return nil }
        var out: [Substring] = []
        var place = 0
        while place < components.count {
            let rest = components[place...]
            let fitting = rules.first { rule in
                (!rule.isAnchored || place == 0) && Self.matches(rest, rule[keyPath: from])
            }
            guard let rule = fitting else {
                out.append(components[place])
                place += 1
                continue
            }
            var numbers = rest.prefix(rule[keyPath: from].count).filter { NamePath.isNumber($0) }[...]
            for word in rule[keyPath: to] { out.append(word == "#" ? numbers.popFirst() ?? word : word) }
            place += rule[keyPath: from].count
        }
        return out == components ? nil : NamePath.joined(out)
    }

    private static func matches(_ components: ArraySlice<Substring>, _ pattern: [Substring]) -> Bool {
        components.count >= pattern.count
            && zip(components, pattern).allSatisfy { $1 == "#" ? NamePath.isNumber($0) : $0 == $1 }
    }
}
