import Models

/// Words that a mistyped or shortened one may have meant.
enum NearWords {
    /// Words offered at most.
    private static let limit = 3

    /// What other programs, and people, call a command.
    private static let otherCommands = [
        "quantize": "convert", "quantise": "convert", "fuse": "merge", "finetune": "train", "fine-tune": "train",
        "lora": "train", "evaluate": "eval", "test": "eval", "chat": "generate", "complete": "generate",
        "infer": "generate", "run": "generate", "show": "inspect", "info": "inspect", "diff": "inspect",
        "rank": "rank-modules", "completion": "completions", "new": "inject", "init": "inject",
    ]

    /// The commands that `name` may mean, the likeliest first.
    static func commands(_ name: String, among known: [String]) -> [String] {
        if let meant = otherCommands[name.lowercased()], known.contains(meant) { return [meant] }
        return words(name, among: known)
    }

    /// The options of a command that `name` may mean, both without dashes: near names of its own, or else those that near
    /// names of other programs stand for.
    static func options(_ name: String, among known: [String], in shape: CommandShape) -> [String] {
        let near = words(name, among: known)
        if !near.isEmpty { return near }
        let others = OptionAlias.all.filter { $0.target(in: shape).map(known.contains) ?? false }
        var meant: [String] = []
        for word in words(name, among: others.map(\.name)) {
            guard let target = others.first(where: { $0.name == word })?.target(in: shape) else { continue }
            if !meant.contains(target) { meant.append(target) }
        }
        return meant
    }

    /// What begins with `word`, or else differs from it by few letters, up to three and a third of them, or else has it
    /// in it.
    static func words(_ word: String, among known: [String]) -> [String] {
        let lower = word.lowercased()
        let beginning = known.filter { $0.hasPrefix(lower) }
        if !beginning.isEmpty, lower.count > 1 { return Array(beginning.prefix(limit)) }
        let near = known.map { (word: $0, distance: EditDistance.between(Array(lower.utf8), Array($0.utf8))) }
        let least = near.map(\.distance).min() ?? 0
        guard least <= max(1, min(3, (lower.count + 1) / 3)) else {
            return lower.count > 2 ? Array(known.filter { $0.contains(lower) }.prefix(limit)) : []
        }
        return near.filter { $0.distance == least }.prefix(limit).map(\.word)
    }

    /// `did you mean 'a' or 'b'?`; nil for no words.
    static func question(_ words: [String]) -> String? {
        guard let last = words.last else { return nil }
        let first = words.dropLast().map { "'\($0)'" }.joined(separator: ", ")
        return "did you mean " + (first.isEmpty ? "" : first + " or ") + "'\(last)'?"
    }
}
