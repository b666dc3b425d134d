import Adapters
import TestSupport
import Testing
import Transforms

/// `prune --keep` against the choice that `rank-modules` writes.
@Suite struct PruneTests {
    @Test(arguments: RankingRules.all.map(\.name))
    func firstModulesOfARankingAreKeptByItsRule(_ rule: String) throws {
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            let program = Program(folder: folder)
            for arguments in [
                ["rank-modules", run.path("tuned"), "--by", rule, "--keep", "7", "-o", "kept.json"],
                ["prune", run.path("tuned"), "--by", rule, "--keep", "7", "-o", "pruned"],
            ] {
                let outcome = try program.run(arguments)
                #expect(outcome.status == 0, "\(outcome.errors)")
            }
            let kept = try ModuleSelection.read(folder + "/kept.json").modules
            #expect(try kept.count == 7 && AdapterDirectory.read(folder + "/pruned").modules == kept)
        }
    }

    @Test func sparsityIsTheRuleWhereNoneIsNamed() throws {
        let run = try TinyRun.shared.get()
        try withTemporaryFolder { folder in
            let program = Program(folder: folder)
            for (rule, output) in [([], "usual"), (["--by", "sparsity"], "named")] {
                let outcome = try program.run(["prune", run.path("tuned"), "--keep", "50%", "-o", output] + rule)
                #expect(outcome.status == 0, "\(outcome.errors)")
            }
            let usual = try AdapterDirectory.read(folder + "/usual").modules
            #expect(try usual == AdapterDirectory.read(folder + "/named").modules)
        }
    }
}
