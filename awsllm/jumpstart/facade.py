"""``Client.jumpstart``: the rooms of this package behind one door.

All calls block, since deployments take minutes and boto3 makes them; from a coroutine use ``asyncio.to_thread``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, Unpack

from awsllm.aws import control
from awsllm.aws.iam import ROLE_VARIABLE
from awsllm.errors import ValidationError
from awsllm.jumpstart.deploy.handle import DeployedModel
from awsllm.jumpstart.plan.options import PlanOptions

if TYPE_CHECKING:
    from awsllm.aws.session import AwsSession
    from awsllm.jobs.asynchronous import AsyncInference
    from awsllm.jobs.finetune import TrainedModel, TrainingPlan
    from awsllm.jobs.transform import TransformOptions, TransformResult
    from awsllm.jumpstart.deploy.apply import Deployment
    from awsllm.jumpstart.deploy.endpoints import Endpoints
    from awsllm.jumpstart.deploy.progress import Listener
    from awsllm.jumpstart.hub.catalogue import Catalogue, ModelSummary
    from awsllm.jumpstart.hub.document import ModelDocument
    from awsllm.jumpstart.plan.plan import Plan, PlanContext
    from awsllm.jumpstart.prices import Prices


class JumpStart:
    """JumpStart in one account and region.

    ``caller`` is the client that calls what is deployed. ``directory`` holds hub documents to use in place of the
    public hub (``AWSLLM_JUMPSTART_DIR``), ``prices`` replaces the table of prices (``AWSLLM_PRICES``).
    """

    def __init__(
        self,
        session: AwsSession,
        *,
        caller: Any = None,
        directory: str | None = None,
        prices: Prices | None = None,
    ) -> None:
        self._session = session
        self._caller = caller
        self._directory = directory
        self._prices = prices

    def _clients(self, service: str) -> Any:
        """The boto3 client of a service; ``ConfigurationError`` where no region is configured."""
        _ = self._session.region
        return control.client(service, self._session)

    @cached_property
    def catalogue(self) -> Catalogue:
        from awsllm.jumpstart.hub.catalogue import Catalogue

        return Catalogue(self._session, directory=self._directory)

    @cached_property
    def endpoints(self) -> Endpoints:
        """What runs: list, describe, logs, scale, delete, reap."""
        from awsllm.jumpstart.deploy.endpoints import Endpoints

        return Endpoints(self._clients, self.prices)

    @cached_property
    def prices(self) -> Prices:
        from awsllm.jumpstart.prices import Prices

        return self._prices or Prices.default()

    # --- find --------------------------------------------------------------------------------------------------------

    def search(self, text: str = "", **filters: Any) -> tuple[ModelSummary, ...]:
        """The models that match all words of ``text``, best first; see ``Catalogue.search`` for the filters."""
        return self.catalogue.search(text, **filters)

    def get(self, model: Any, *, version: str | None = None, hub: str | None = None) -> ModelDocument:
        """What JumpStart says of a model. ``version`` may be a pattern such as ``1.*``; the default is the newest."""
        model_id, options = _model(model)
        return self.catalogue.get(model_id, version=version or options.get("version"), hub=hub or options.get("hub"))

    # --- deploy ------------------------------------------------------------------------------------------------------

    def plan(self, model: Any = None, **options: Unpack[PlanOptions]) -> Plan:
        """The exact requests that deploying ``model`` makes, before any is made.

        ``model`` is a JumpStart id, or a ``JumpStartConfig`` or ``ModelBuilder`` of the SageMaker SDK. With ``image=``,
        any container: ``model`` is then ORG/NAME on Hugging Face's hub, an ``s3://`` archive or prefix, or left out.
        """
        from awsllm.jumpstart.plan.own import is_own, own_document
        from awsllm.jumpstart.plan.planner import make_plan

        if is_own(model, options):
            return make_plan(
                own_document(model, options, self._session.region), options, self._context(options.get("role"))
            )
        model_id, given = _model(model)
        both: PlanOptions = {**given, **options}  # type: ignore[typeddict-item]
        document = self.catalogue.get(model_id, version=both.get("version"), hub=both.get("hub"))
        return make_plan(document, both, self._context(both.get("role")))

    def apply(self, plan: Plan, **how: Any) -> DeployedModel:
        """Make ``plan`` real, or go on with it where an earlier attempt stopped; see ``apply.apply``."""
        from awsllm.jumpstart.deploy.apply import apply
        from awsllm.jumpstart.plan.plan import Plan

        if not isinstance(plan, Plan):
            raise ValidationError(f"apply takes a plan, as plan() makes it, not a {type(plan).__name__}")
        if plan.region != self._session.region:
            raise ValidationError(
                f"this plan is for {plan.region}, the client is in {self._session.region}: plan again"
            )
        return self._handle(apply(plan, self._clients, **how), plan)

    def deploy(
        self,
        model: Any = None,
        *,
        on_progress: Listener | None = None,
        keep_on_failure: bool = False,
        **options: Unpack[PlanOptions],
    ) -> DeployedModel:
        """``plan`` and ``apply`` in one: returns when the model answers."""
        plan = self.plan(model, **options)
        return self.apply(plan, on_progress=on_progress, keep_on_failure=keep_on_failure)

    @contextmanager
    def deployed(
        self, model: Any = None, *, on_progress: Listener | None = None, **options: Unpack[PlanOptions]
    ) -> Iterator[DeployedModel]:
        """A model that exists as long as the block runs: whatever ends it, signals included, deletes the endpoint."""
        from awsllm.jumpstart.deploy.deployed import deployed, unique_options

        name = options.get("image") if model is None else _model(model)[0]
        plan = self.plan(model, **unique_options(name or "", options))
        with deployed(plan, self._clients, on_progress=on_progress) as deployment:
            yield self._handle(deployment, plan)

    def _handle(self, deployment: Deployment, plan: Plan) -> DeployedModel:
        return DeployedModel(
            deployment,
            self._caller,
            clients=self._clients,
            document=lambda: self.catalogue.get(plan.model_id, version=plan.model_version),
        )

    def _context(self, role: str | None) -> PlanContext:
        from awsllm.jumpstart.plan.plan import PlanContext

        return PlanContext(
            region=self._session.region,
            role=role or os.environ.get(ROLE_VARIABLE) or None,
            prices=self.prices,
            account=None,
        )

    # --- jobs --------------------------------------------------------------------------------------------------------

    def plan_fine_tuning(
        self, model: Any, *, version: str | None = None, hub: str | None = None, **options: Any
    ) -> TrainingPlan:
        """The training job that tunes ``model``; see ``finetune.plan_fine_tuning``."""
        from awsllm.jobs.finetune import plan_fine_tuning

        options["role"] = options.get("role") or self.role()
        return plan_fine_tuning(self.get(model, version=version, hub=hub), prices=self.prices, **options)

    def fine_tune(self, model: Any, *, on_progress: Listener | None = None, **options: Any) -> TrainedModel:
        """Tune ``model`` and wait for it; ``deploy(model, model_data=trained.model_data)`` then serves the result."""
        from awsllm.jobs.finetune import TRAINING
        from awsllm.jobs.job import start

        plan = self.plan_fine_tuning(model, **options)
        return start(TRAINING, plan, self._clients, on_progress=on_progress).result()

    def role(self) -> str:
        """The ARN of the execution role that ``AWSLLM_SAGEMAKER_ROLE`` names."""
        from awsllm.jumpstart.deploy.preflight import no_role

        role = os.environ.get(ROLE_VARIABLE)
        if not role:
            raise no_role()
        return role

    def transform(
        self, model_name: str, *, on_progress: Listener | None = None, **options: Unpack[TransformOptions]
    ) -> TransformResult:
        """Run every object under ``input=`` through a SageMaker model and wait; see ``transform.plan_transform``."""
        from awsllm.jobs.job import start
        from awsllm.jobs.transform import TRANSFORM, describe_model, plan_transform

        model = describe_model(model_name, self._clients)
        plan = plan_transform(model, region=self._session.region, prices=self.prices, **options)
        return start(TRANSFORM, plan, self._clients, on_progress=on_progress).result()

    def asynchronous(self, endpoint: str, *, format: str | None = None, **options: Any) -> AsyncInference:
        """Calls of an asynchronous endpoint, whose answers come through S3; see ``AsyncInference``.

        ``endpoint`` may be a name of the configuration. ``format`` names what its container speaks; without it the
        endpoint's tags, image and environment tell.
        """
        from awsllm.jobs.asynchronous import AsyncInference
        from awsllm.wire import endpoint as bodies

        if self._caller is not None:
            endpoint = str(self._caller._settings.one(endpoint, is_endpoint=True))
        name = endpoint.removeprefix("sagemaker:")
        found = None if format else self.endpoints.describe(name).format
        if found is not None:
            options.setdefault("settings", found.settings)
        named = format or (found.format if found is not None else None)
        codec = bodies.get(named) if named else None
        return AsyncInference(name, self._clients, format=codec, **options)


def _model(model: Any) -> tuple[str, Mapping[str, Any]]:
    """A model's id and the options that came with it."""
    if isinstance(model, str):
        return model, {}
    from awsllm.jumpstart.interop import read_model

    return read_model(model)
