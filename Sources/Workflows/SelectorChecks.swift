import Adapters
import Models
import TensorCore

/// What an injection is asked for beyond what its base has: selectors that select nothing, and ranks beyond reason.
extension InjectRequest {
    /// Throws `WorkflowError.selectsNothing` for an exclusion, a layer or a pattern that has no module to act on.
    ///
    /// - Parameters:
    ///   - configuration: the new adapter's.
    ///   - match: the modules that it has.
    ///   - linear: the base's linear modules.
    ///   - head: the base's output head, which `all-linear` leaves out.
    func checkSelectors(
        _ configuration: AdapterConfiguration, _ match: TargetMatch, in linear: [LinearModule], head: String?
    ) throws {
        let targeted = try TargetMatch.paths(
            matching: configuration.targets, excluding: nil, layersToTransform: nil, layersPattern: [], in: linear,
            outputHead: head ?? TargetMatch.usualHead)
        if let excluded = configuration.excluded {
            let paths = NameSet(targeted)
            let modules = linear.filter { paths.contains($0.path) }
            for part in Self.parts(of: excluded) {
                let left = try TargetMatch.paths(
                    matching: part, excluding: nil, layersToTransform: nil, layersPattern: [], in: modules)
                if left.isEmpty { throw nothing(.excluded, part.summary, targeted) }
            }
        }
        if let layers { try checkLayers(layers, Set(targeted.compactMap(Self.layer))) }
        let adapted = match.modules.map { $0.parameter ?? $0.path }
        for option in options.given where option.form == .integers || option.form == .numbers {
            for pattern in options[option.key]?.objectValue?.keys ?? [] {
                guard PatternEntry(pattern, 0).matches(anyOf: adapted) else {
                    throw nothing(.methodOption(option.key), pattern, adapted)
                }
            }
        }
    }

    /// Throws `WorkflowError.conflict` for a module whose rank is more than a matrix of its shape can have any use of.
    func checkRanks(_ configuration: AdapterConfiguration, _ match: TargetMatch) throws(WorkflowError) {
        // What all modules share may be larger than one of them (VeRA's papers go up to a few times the width).
        let factor = configuration.kind == .vera ? 16 : 1
        for module in match.modules {
            let limit = factor * max(module.outputSize, module.inputSize)
            guard let rank = configuration.rank(for: module.path), rank > limit else { continue }
            throw .conflict(
                "the rank \(rank) of '\(module.path)' is beyond use: its weight is [\(module.outputSize), "
                    + "\(module.inputSize)], for which \(limit) is the most")
        }
    }

    /// Each name of a list by itself: one that selects nothing is not hidden by the others.
    private static func parts(of specification: TargetSpecification) -> [TargetSpecification] {
        if case .names(let names) = specification { names.map { .names([$0]) } } else { [specification] }
    }

    private func nothing(_ parameter: Parameter, _ value: String, _ paths: [String]) -> WorkflowError {
        .selectsNothing(
            parameter, value: value, reason: "matches none of the modules to adapt",
            nearest: NearestNames.find(value, in: paths))
    }

    private func checkLayers(_ layers: [Int], _ known: Set<Int>) throws(WorkflowError) {
        let missing = layers.filter { !known.contains($0) }
        guard let first = missing.first else { return }
        let numbers = known.sorted()
        let isWhole = numbers.last.map { $0 - numbers[0] + 1 == numbers.count } ?? false
        let list = numbers.map(String.init)
        let span = isWhole && list.count > 1 ? "\(list[0]) to \(list[list.count - 1])" : list.joined(separator: ", ")
        let words = list.isEmpty ? "they lie in no layers" : "they lie in the layers \(span)"
        throw .selectsNothing(
            .layers, value: missing.count == 1 ? String(first) : "\(first) (and \(missing.count - 1) more)",
            reason: "has none of the modules to adapt; \(words)", nearest: [])
    }

    /// The number of the layer that a path lies in: its first number that follows a named list.
    private static func layer(of path: String) -> Int? {
        let parts = path.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count > 2 else { return nil }
        return parts[1..<parts.count - 1].lazy.compactMap { Int($0) }.first
    }
}
