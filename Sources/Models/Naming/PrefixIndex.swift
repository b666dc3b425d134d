import TensorCore

/// The prefixes of a base's names (what stands before the number of a layer; of a module outside of layers its whole path),
/// to find those that a prefix of an adapter may mean.
struct PrefixIndex: Sendable {
    /// By prefix, the number of layers (one more than the largest; nil outside of layers).
    private(set) var layerCounts: NameTable<Int?> = [:]
    private var byReduced: NameTable<[String]> = [:]
    private var bySuffix: NameTable<[String]> = [:]
    private var byReducedSuffix: NameTable<[String]> = [:]
    private let modelType: String?

    /// The prefixes of the paths of a base's modules.
    init(modules: some Sequence<String>, modelType: String?) {
        self.modelType = modelType
        var last: (prefix: String, number: Int?)?
        for module in modules {
            let (prefix, rest) = NamePath.split(module)
            let number = NamePath.number(of: rest)
            if let last, last.prefix == prefix, last.number == number { continue }
            let key = String(prefix)
            last = (key, number)
            let known = layerCounts[key] ?? nil
            layerCounts[key] = .some(number.map { max($0 == .max ? $0 : $0 + 1, known ?? 0) } ?? known)
        }
        for prefix in layerCounts.keys.sorted() { index(prefix) }
    }

    private mutating func index(_ prefix: String) {
        let components = NamePath.components(prefix)
        // Never a model's own.
        if components.contains(where: NameWords.auxiliary.contains) { return }
        let reduced = NameWords.reduced(components)
        byReduced[NamePath.joined(reduced), default: []].append(prefix)
        for count in stride(from: components.count - 1, to: 0, by: -1) {
            bySuffix[NamePath.joined(components.suffix(count)), default: []].append(prefix)
        }
        for count in stride(from: reduced.count - 1, to: 0, by: -1) {
            byReducedSuffix[NamePath.joined(reduced.suffix(count)), default: []].append(prefix)
        }
    }

    /// The base's prefixes that `prefix` may mean, likelier ones in earlier lists; itself is not among them.
    func meanings(of prefix: String) -> [[String]] {
        let components = NamePath.components(prefix)
        if components.contains(where: NameWords.auxiliary.contains) { return [] }
        let reduced = NameWords.reduced(components)
        let isPlain = !NameWords.namePart(components)
        let equal = equals(of: prefix)
        let added = (bySuffix[prefix] ?? []).filter { longer in
            isPlain || isPlainWrapper(NamePath.components(longer).dropLast(components.count))
        }
        let dropped = (1..<max(components.count, 1)).compactMap { count -> String? in
            let rest = NamePath.joined(components.dropFirst(count))
            return layerCounts[rest] != nil && canDrop(components.prefix(count)) ? rest : nil
        }
        // A bare model's names say nothing of where in a larger model they lie: all that end so may be meant.
        var lists = isPlain ? [equal + added, dropped] : [equal, added + dropped]
        lists.append(remote(reduced))
        var seen: NameSet = [prefix]
        return lists.map { $0.filter { seen.insert($0).inserted } }.filter { !$0.isEmpty }
    }

    /// The base's prefixes that are `prefix` but for wrappers that mean nothing.
    func equals(of prefix: String) -> [String] {
        (byReduced[NamePath.joined(NameWords.reduced(NamePath.components(prefix)))] ?? []).filter { $0 != prefix }
    }

    /// Prefixes that differ in a wrapper of no known name beside those that mean nothing.
    private func remote(_ reduced: [Substring]) -> [String] {
        let longer = (byReducedSuffix[NamePath.joined(reduced)] ?? []).filter { prefix in
            isPlainWrapper(NameWords.reduced(NamePath.components(prefix)).dropLast(reduced.count))
        }
        let shorter = (1..<max(reduced.count, 1)).flatMap { count -> [String] in
            let words = reduced.prefix(count)
            guard isPlainWrapper(words), canDrop(words) else { return [] }
            return byReduced[NamePath.joined(reduced.dropFirst(count))] ?? []
        }
        return longer + shorter
    }

    /// Whether words name no tower of pictures or sound and no half of a model.
    private func isPlainWrapper(_ words: some Sequence<Substring>) -> Bool {
        !words.contains {
            NameWords.vision.contains($0) || NameWords.audio.contains($0) || NameWords.halves.contains($0)
        }
    }

    /// Whether names of this base can lack these words that the adapter's have.
    private func canDrop(_ words: some Sequence<Substring>) -> Bool {
        let isTower = NameWords.isTowerType(modelType)
        return !words.contains { word in
            if NameWords.halves.contains(word) { return true }
            if NameWords.text.contains(word) { return isTower }
            if NameWords.isTower(word) { return !isTower }
            return NameWords.isForeignBody(word, modelType: modelType)
        }
    }
}
