import Compute
import TensorCore

/// Moves AdaLoRA's ranks between modules (arXiv 2303.10512, equations 7 to 12, as peft 0.21 computes them): every step
/// it smooths each value's sensitivity |w dl/dw| and that one's uncertainty, and every `interval` steps it sets to zero
/// the E of the triplets with the smallest products of the two, beyond a budget that falls with a cubic from all ranks
/// to `targetRank` a module.
package final class RankAllocator: AdapterSchedule {
    private let methods: [AdaLoRA]
    private let settings: AdaLoRASettings
    private let totalSteps: Int
    private let context: ComputeContext
    private let initialBudget: Int
    /// Mean sensitivity and uncertainty of each value, a pair for each of a module's parameters.
    private var averages: [[(sensitivity: Tensor, uncertainty: Tensor)]]
    /// The ranks kept by the last choice, a list a module; empty before the first.
    private var kept: [[Bool]] = []

    /// An allocator for a run of `totalSteps`. Throws `.badSetting` for settings that no run of that length can keep.
    init(
        _ methods: [AdaLoRA], _ settings: AdaLoRASettings, totalSteps: Int, _ context: ComputeContext
    ) throws(AdapterError) {
        guard settings.initialSteps < totalSteps - settings.finalSteps else {
            throw .badSetting(
                name: "tinit + tfinal", expected: "below the run's \(totalSteps) steps",
                found: "\(settings.initialSteps) + \(settings.finalSteps)")
        }
        self.methods = methods
        self.settings = settings
        self.totalSteps = totalSteps
        self.context = context
        initialBudget = methods.reduce(0) { $0 + $1.e.value.rows }
        averages = methods.map { method in
            method.parameters.map { (context.zeros($0.value.shape, .f32), context.zeros($0.value.shape, .f32)) }
        }
    }

    package func afterStep(_ step: Int, gradientScale: Double) {
        let last = totalSteps - settings.finalSteps
        if step < last { updateAverages(Float(gradientScale)) }
        if step > last {
            mask()
        } else if step == last || isDue(step) {
            choose(budget: budget(step))
            mask()
        }
    }

    /// Ranks over all modules that may stay after `step`.
    private func budget(_ step: Int) -> Int {
        if step <= settings.initialSteps { return initialBudget }
        let target = settings.targetRank * methods.count
        let left =
            1 - Double(step - settings.initialSteps)
            / Double(totalSteps - settings.finalSteps - settings.initialSteps)
        return Int(Double(initialBudget - target) * (left * left * left) + Double(target))
    }

    private func isDue(_ step: Int) -> Bool { step > settings.initialSteps && step % settings.interval == 0 }

    private func updateAverages(_ gradientScale: Float) {
        let (keep1, keep2) = (Float(settings.beta1), Float(settings.beta2))
        let (take1, take2) = (Float(1 - settings.beta1), Float(1 - settings.beta2))
        context.parallelItems(methods.count) { [self] item, _ in
            for (parameter, average) in zip(methods[item].parameters, averages[item]) {
                let (value, gradient) = (parameter.value.floats, parameter.gradient.floats)
                let (sensitivity, uncertainty) = (average.sensitivity.floats, average.uncertainty.floats)
                for index in 0..<parameter.value.count {
                    let now = abs(value[index] * (gradientScale * gradient[index]))
                    let mean = keep1 * sensitivity[index] + take1 * now
                    sensitivity[index] = mean
                    uncertainty[index] = keep2 * uncertainty[index] + take2 * abs(now - mean)
                }
            }
        }
    }

    /// The importance of each triplet: E's own score, and the means of A's row and B's column.
    private func scores(_ item: Int) -> [Double] {
        let method = methods[item]
        let (rank, inputSize, outputSize) = (method.e.value.rows, method.a.value.columns, method.b.value.rows)
        func score(_ parameter: Int, _ index: Int) -> Double {
            let average = averages[item][parameter]
            return Double(average.sensitivity.floats[index] * average.uncertainty.floats[index])
        }
        var ofB = [Double](repeating: 0, count: rank)
        for row in 0..<outputSize {
            for column in 0..<rank { ofB[column] += score(1, row * rank + column) }
        }
        return (0..<rank).map { index in
            let ofA = (0..<inputSize).reduce(0.0) { $0 + score(0, index * inputSize + $1) }
            return score(2, index) + ofA / Double(inputSize) + ofB[index] / Double(outputSize)
        }
    }

    private func choose(budget: Int) {
        let scores = methods.indices.map { self.scores($0) }
        let excess = initialBudget - budget
        // The excess-th smallest score goes, and what equals it.
        let threshold = excess < 1 ? -Double.infinity : scores.joined().sorted()[excess - 1]
        kept = scores.map { $0.map { $0 > threshold } }
    }

    private func mask() {
        for (method, kept) in zip(methods, kept) {
            for (index, stays) in kept.enumerated() where !stays { method.e.value.floats[index] = 0 }
        }
    }

    package var ranks: NameTable<Int> {
        NameTable(
            uniqueKeysWithValues: methods.map { method in
                // E starts at zero, and stays there while the learning rate is; no rank has been taken away yet.
                (method.path, kept.isEmpty ? method.e.value.rows : method.e.value.toArray().count { $0 != 0 })
            })
    }

    static let suffixes = (sensitivity: ".sensitivity", uncertainty: ".uncertainty", kept: ".kept")

    package var state: [AdapterTensor] {
        var state: [AdapterTensor] = []
        for (item, method) in methods.enumerated() {
            for (parameter, average) in zip(method.parameters, averages[item]) {
                let shape = parameter.value.shape
                state.append(
                    AdapterTensor(parameter.name + Self.suffixes.sensitivity, shape, average.sensitivity.toArray()))
                state.append(
                    AdapterTensor(parameter.name + Self.suffixes.uncertainty, shape, average.uncertainty.toArray()))
            }
            if !kept.isEmpty {
                state.append(
                    AdapterTensor(method.path + Self.suffixes.kept, [kept[item].count], kept[item].map { $0 ? 1 : 0 }))
            }
        }
        return state
    }

    package func restore(_ state: [AdapterTensor]) -> Bool {
        let byName = NameTable(state.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        var masks: [[Bool]] = []
        for (item, method) in methods.enumerated() {
            for (parameter, average) in zip(method.parameters, averages[item]) {
                guard let sensitivity = byName[parameter.name + Self.suffixes.sensitivity],
                    let uncertainty = byName[parameter.name + Self.suffixes.uncertainty],
                    sensitivity.shape == parameter.value.shape, uncertainty.shape == parameter.value.shape
                else { return false }
                average.sensitivity.copy(from: sensitivity.values)
                average.uncertainty.copy(from: uncertainty.values)
            }
            if let mask = byName[method.path + Self.suffixes.kept] {
                guard mask.values.count == method.e.value.rows else { return false }
                masks.append(mask.values.map { $0 != 0 })
            }
        }
        guard masks.isEmpty || masks.count == methods.count else { return false }
        kept = masks
        return true
    }

    /// Takes the ranks away that the last choice took, as peft does when it saves.
    package func finish(_ configuration: AdapterConfiguration) throws(AdapterError) -> AdapterConfiguration {
        var settings = configuration.own(AdaLoRASettings.self)
        settings.totalSteps = totalSteps
        guard !kept.isEmpty else { return configuration.with(settings) }
        for (method, kept) in zip(methods, kept) {
            // An adapter that was trained before has lost ranks already: the flags are of all its first ones.
            var flags = settings.keptRanks[method.path] ?? [Bool](repeating: true, count: settings.initialRank)
            let places = flags.indices.filter { flags[$0] }
            for (place, stays) in zip(places, kept) where !stays { flags[place] = false }
            settings.keptRanks[method.path] = flags
            method.trim(to: kept.indices.filter { kept[$0] })
        }
        return configuration.with(settings)
    }
}
