import TensorCore

/// What a run's files hold, told before it.
extension AdaLoRASettings {
    /// Whether ranks have been chosen when `count` steps of a run are done; see `RankAllocator`.
    private func hasChosen(afterSteps count: Int, of totalSteps: Int) -> Bool {
        let last = totalSteps - finalSteps
        if count > last { return true }
        // The first step of a choice: a multiple of the interval beyond the first steps.
        let (multiple, overflow) = (initialSteps / interval + 1).multipliedReportingOverflow(by: interval)
        return !overflow && multiple < min(count, last + 1)
    }

    package func scheduleTensors(
        of adapter: AdapterDirectory, afterStep step: Int, of totalSteps: Int
    ) -> [(name: String, shape: [Int])] {
        // In the order of `RankAllocator.state`, on which the length of a file's header depends.
        let hasChosen = hasChosen(afterSteps: step, of: totalSteps)
        return adapter.modules.flatMap { module -> [(name: String, shape: [Int])] in
            let averages = adapter.configuration.tensorRoles(of: module).compactMap { role in
                adapter.tensor(module, role.suffix)
            }.flatMap { tensor in
                [RankAllocator.suffixes.sensitivity, RankAllocator.suffixes.uncertainty].map {
                    (name: tensor.name + $0, shape: tensor.shape)
                }
            }
            let mask = (name: module + RankAllocator.suffixes.kept, shape: [rank(for: module) ?? initialRank])
            return hasChosen ? averages + [mask] : averages
        }
    }

    package func expected(_ adapter: AdapterDirectory, after totalSteps: Int) throws(AdapterError) -> AdapterDirectory?
    {
        guard hasChosen(afterSteps: totalSteps, of: totalSteps) else { return nil }
        var settings = self
        settings.totalSteps = totalSteps
        for module in adapter.modules {
            var flags = keptRanks[module] ?? [Bool](repeating: true, count: initialRank)
            for place in flags.indices.filter({ flags[$0] }).dropFirst(targetRank) { flags[place] = false }
            settings.keptRanks[module] = flags
        }
        var tensors: [AdapterTensor] = []
        for module in adapter.modules {
            for role in adapter.configuration.tensorRoles(of: module) {
                guard let tensor = adapter.tensor(module, role.suffix) else { continue }
                let shape = zip(role.axes, tensor.shape).map { $0 == .rank ? settings.rank(for: module) ?? $1 : $1 }
                let count = shape.reduce(1, *)
                tensors.append(AdapterTensor(tensor.name, shape, [Float](repeating: 0, count: count)))
            }
        }
        return try AdapterDirectory(
            configuration: adapter.configuration.with(settings), modules: adapter.modules,
            tensors: tensors + adapter.savedModules, thresholds: adapter.thresholds, origin: adapter.origin.ofDerived)
    }
}
