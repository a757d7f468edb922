"""The messages of callbacks and of the Module API. Generated from schemas/: do not edit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class ActiveUser:
    """See docs/callbacks/types.md."""

    appservice_id: str = ""
    user_id: str = ""


@dataclass
class Event:
    """See docs/callbacks/types.md."""

    event_id: str = ""
    room_version: str = ""
    json: dict[str, Any] | None = None


@dataclass
class FederationEventDeliveryEvent:
    """See docs/callbacks/types.md."""

    server_name: str = ""
    events: list[Event] = field(default_factory=list)
    method: str = ""


@dataclass
class FileInfo:
    """See docs/callbacks/types.md."""

    server_name: str | None = None
    file_id: str = ""
    url_cache: bool = False
    thumbnail: Thumbnail | None = None


@dataclass
class FileWrapper:
    """See docs/callbacks/types.md."""

    subject: str = ""
    size: int | None = None


@dataclass
class HttpHeader:
    """See docs/callbacks/types.md."""

    name: str = ""
    value: str = ""


@dataclass
class LoginResponse:
    """See docs/callbacks/types.md."""

    user_id: str = ""
    access_token: str | None = None
    home_server: str = ""
    device_id: str | None = None
    expires_in_ms: int | None = None
    refresh_token: str | None = None
    well_known: dict[str, Any] | None = None


@dataclass
class MediaUploadLimit:
    """See docs/callbacks/types.md."""

    max_bytes: int = 0
    time_period_ms: int = 0
    info_uri: str | None = None
    can_upgrade: bool = False


@dataclass
class MediaUploadLimits:
    """See docs/callbacks/types.md."""

    limits: list[MediaUploadLimit] = field(default_factory=list)


@dataclass
class PresenceUpdate:
    """See docs/callbacks/types.md."""

    state: str = ""
    status_msg: str | None = None


@dataclass
class ProfileInfo:
    """See docs/callbacks/types.md."""

    display_name: str | None = None
    avatar_url: str | None = None


@dataclass
class RatelimitOverride:
    """See docs/callbacks/types.md."""

    per_second: float = 0.0
    burst_count: int = 0


@dataclass
class Refusal:
    """See docs/callbacks/types.md."""

    errcode: str = ""
    error: str = ""
    additional_fields: dict[str, Any] | None = None
    http_status: int | None = None


@dataclass
class RequestInfo:
    """See docs/callbacks/types.md."""

    user_agent: str | None = None
    ip: str = ""


@dataclass
class Requester:
    """See docs/callbacks/types.md."""

    user_id: str = ""
    access_token_id: int | None = None
    is_guest: bool = False
    scope: list[str] = field(default_factory=list)
    shadow_banned: bool = False
    device_id: str | None = None
    app_service_id: str | None = None
    authenticated_entity: str = ""


@dataclass
class StateEvent:
    """See docs/callbacks/types.md."""

    type: str = ""
    state_key: str = ""
    event: Event | None = None


@dataclass
class StateEventType:
    """See docs/callbacks/types.md."""

    type: str = ""
    state_key: str | None = None


@dataclass
class Threepid:
    """See docs/callbacks/types.md."""

    medium: str = ""
    address: str = ""
    validated_at: int | None = None


@dataclass
class Thumbnail:
    """See docs/callbacks/types.md."""

    width: int = 0
    height: int = 0
    method: str = ""
    type: str = ""
    length: int | None = None


@dataclass
class UnsignedFields:
    """See docs/callbacks/types.md."""

    fields: dict[str, Any] = field(default_factory=dict)


@dataclass
class UserInfo:
    """See docs/callbacks/types.md."""

    user_id: str = ""
    appservice_id: str | None = None
    consent_server_notice_sent: str | None = None
    consent_version: str | None = None
    consent_ts: int | None = None
    user_type: str | None = None
    creation_ts: int = 0
    is_admin: bool = False
    is_deactivated: bool = False
    is_guest: bool = False
    is_shadow_banned: bool = False
    approved: bool = False
    locked: bool = False
    suspended: bool = False


@dataclass
class UserIpAndAgent:
    """See docs/callbacks/types.md."""

    ip: str = ""
    user_agent: str = ""
    last_seen: int = 0


@dataclass
class UserPresenceState:
    """See docs/callbacks/types.md."""

    user_id: str = ""
    state: str = ""
    last_active_ts: int = 0
    last_federation_update_ts: int = 0
    last_user_sync_ts: int = 0
    status_msg: str | None = None
    currently_active: bool = False


@dataclass
class UserPresenceStates:
    """See docs/callbacks/types.md."""

    states: list[UserPresenceState] = field(default_factory=list)


@dataclass
class UserProfile:
    """See docs/callbacks/types.md."""

    user_id: str = ""
    display_name: str | None = None
    avatar_url: str | None = None


@dataclass
class OnAccountDataUpdatedRequest:
    """What on_account_data_updated is asked."""

    user_id: str = ""
    room_id: str | None = None
    account_data_type: str = ""
    content: dict[str, Any] | None = None


@dataclass
class OnAccountDataUpdatedResponse:
    """What on_account_data_updated may answer. Empty is no opinion."""


@dataclass
class IsUserExpiredRequest:
    """What is_user_expired is asked."""

    user: str = ""


@dataclass
class IsUserExpiredResponse:
    """What is_user_expired may answer. Empty is no opinion."""

    expired: bool | None = None


@dataclass
class OnUserRegistrationRequest:
    """What on_user_registration is asked."""

    user: str = ""


@dataclass
class OnUserRegistrationResponse:
    """What on_user_registration may answer. Empty is no opinion."""


@dataclass
class OnUserLoginRequest:
    """What on_user_login is asked."""

    user_id: str = ""
    auth_provider_type: str | None = None
    auth_provider_id: str | None = None


@dataclass
class OnUserLoginResponse:
    """What on_user_login may answer. Empty is no opinion."""


@dataclass
class AddFieldToUnsignedCallbackRequest:
    """What add_field_to_unsigned_callback is asked."""

    events: list[Event] = field(default_factory=list)


@dataclass
class AddFieldToUnsignedCallbackResponse:
    """What add_field_to_unsigned_callback may answer. Empty is no opinion."""

    unsigned: dict[str, UnsignedFields] = field(default_factory=dict)


@dataclass
class OnUpdateRequest:
    """What on_update is asked."""

    update_name: str = ""
    database_name: str = ""
    one_shot: bool = False


@dataclass
class OnUpdateResponse:
    """What on_update may answer. Empty is no opinion."""

    target_duration_ms: int | None = None
    token: str = ""
    worker: str = ""


@dataclass
class OnUpdateEndRequest:
    """What on_update_end is asked."""

    module: str = ""
    worker: str = ""
    token: str = ""
    lost: bool = False


@dataclass
class OnUpdateEndResponse:
    """What on_update_end may answer. Empty is no opinion."""


@dataclass
class DefaultBatchSizeRequest:
    """What default_batch_size is asked."""

    update_name: str = ""
    database_name: str = ""


@dataclass
class DefaultBatchSizeResponse:
    """What default_batch_size may answer. Empty is no opinion."""

    batch_size: int | None = None


@dataclass
class MinBatchSizeRequest:
    """What min_batch_size is asked."""

    update_name: str = ""
    database_name: str = ""


@dataclass
class MinBatchSizeResponse:
    """What min_batch_size may answer. Empty is no opinion."""

    batch_size: int | None = None


@dataclass
class OnEventDeliveredOverFederationRequest:
    """What on_event_delivered_over_federation is asked."""

    delivery: FederationEventDeliveryEvent | None = None


@dataclass
class OnEventDeliveredOverFederationResponse:
    """What on_event_delivered_over_federation may answer. Empty is no opinion."""


@dataclass
class GetMediaConfigForUserRequest:
    """What get_media_config_for_user is asked."""

    user_id: str = ""


@dataclass
class GetMediaConfigForUserResponse:
    """What get_media_config_for_user may answer. Empty is no opinion."""

    media_config: dict[str, Any] | None = None


@dataclass
class IsUserAllowedToUploadMediaOfSizeRequest:
    """What is_user_allowed_to_upload_media_of_size is asked."""

    user_id: str = ""
    size: int = 0


@dataclass
class IsUserAllowedToUploadMediaOfSizeResponse:
    """What is_user_allowed_to_upload_media_of_size may answer. Empty is no opinion."""

    refusal: Refusal | None = None


@dataclass
class GetMediaUploadLimitsForUserRequest:
    """What get_media_upload_limits_for_user is asked."""

    user_id: str = ""


@dataclass
class GetMediaUploadLimitsForUserResponse:
    """What get_media_upload_limits_for_user may answer. Empty is no opinion."""

    limits: MediaUploadLimits | None = None


@dataclass
class OnMediaUploadLimitExceededRequest:
    """What on_media_upload_limit_exceeded is asked."""

    user_id: str = ""
    limit: MediaUploadLimit | None = None
    sent_bytes: int = 0
    attempted_bytes: int = 0


@dataclass
class OnMediaUploadLimitExceededResponse:
    """What on_media_upload_limit_exceeded may answer. Empty is no opinion."""


@dataclass
class AuthCheckersRequest:
    """What auth_checkers is asked."""

    user: str = ""
    login_type: str = ""
    login_dict: dict[str, Any] | None = None


@dataclass
class AuthCheckersResponse:
    """What auth_checkers may answer. Empty is no opinion."""

    user_id: str = ""
    tell_login: bool = False
    token: str = ""
    worker: str = ""


@dataclass
class OnAuthCheckersLoginRequest:
    """What on_auth_checkers_login is asked."""

    module: str = ""
    worker: str = ""
    token: str = ""
    response: LoginResponse | None = None


@dataclass
class OnAuthCheckersLoginResponse:
    """What on_auth_checkers_login may answer. Empty is no opinion."""


@dataclass
class Check3pidAuthRequest:
    """What check_3pid_auth is asked."""

    medium: str = ""
    address: str = ""
    password: str = ""


@dataclass
class Check3pidAuthResponse:
    """What check_3pid_auth may answer. Empty is no opinion."""

    user_id: str = ""
    tell_login: bool = False
    token: str = ""
    worker: str = ""


@dataclass
class OnLoggedOutRequest:
    """What on_logged_out is asked."""

    user_id: str = ""
    device_id: str | None = None
    access_token: str = ""


@dataclass
class OnLoggedOutResponse:
    """What on_logged_out may answer. Empty is no opinion."""


@dataclass
class GetUsernameForRegistrationRequest:
    """What get_username_for_registration is asked."""

    uia_results: dict[str, Any] | None = None
    params: dict[str, Any] | None = None


@dataclass
class GetUsernameForRegistrationResponse:
    """What get_username_for_registration may answer. Empty is no opinion."""

    username: str | None = None


@dataclass
class GetDisplaynameForRegistrationRequest:
    """What get_displayname_for_registration is asked."""

    uia_results: dict[str, Any] | None = None
    params: dict[str, Any] | None = None


@dataclass
class GetDisplaynameForRegistrationResponse:
    """What get_displayname_for_registration may answer. Empty is no opinion."""

    displayname: str | None = None


@dataclass
class Is3pidAllowedRequest:
    """What is_3pid_allowed is asked."""

    medium: str = ""
    address: str = ""
    registration: bool = False


@dataclass
class Is3pidAllowedResponse:
    """What is_3pid_allowed may answer. Empty is no opinion."""

    refusal: Refusal | None = None


@dataclass
class GetUsersForStatesRequest:
    """What get_users_for_states is asked."""

    state_updates: list[UserPresenceState] = field(default_factory=list)


@dataclass
class GetUsersForStatesResponse:
    """What get_users_for_states may answer. Empty is no opinion."""

    users: dict[str, UserPresenceStates] = field(default_factory=dict)


@dataclass
class GetInterestedUsersRequest:
    """What get_interested_users is asked."""

    user_id: str = ""


@dataclass
class GetInterestedUsersResponse:
    """What get_interested_users may answer. Empty is no opinion."""

    users: list[str] = field(default_factory=list)
    all_users: bool = False


@dataclass
class GetRatelimitOverrideForUserRequest:
    """What get_ratelimit_override_for_user is asked."""

    user: str = ""
    limiter_name: str = ""


@dataclass
class GetRatelimitOverrideForUserResponse:
    """What get_ratelimit_override_for_user may answer. Empty is no opinion."""

    override: RatelimitOverride | None = None


@dataclass
class CheckEventForSpamRequest:
    """What check_event_for_spam is asked."""

    event: Event | None = None


@dataclass
class CheckEventForSpamResponse:
    """What check_event_for_spam may answer. Empty is no opinion."""

    refusal: Refusal | None = None


@dataclass
class UserMayInviteRequest:
    """What user_may_invite is asked."""

    inviter: str = ""
    invitee: str = ""
    room_id: str = ""


@dataclass
class UserMayInviteResponse:
    """What user_may_invite may answer. Empty is no opinion."""

    refusal: Refusal | None = None


@dataclass
class UserMayCreateRoomRequest:
    """What user_may_create_room is asked."""

    user_id: str = ""
    room_config: dict[str, Any] | None = None


@dataclass
class UserMayCreateRoomResponse:
    """What user_may_create_room may answer. Empty is no opinion."""

    refusal: Refusal | None = None


@dataclass
class UserMayCreateRoomAliasRequest:
    """What user_may_create_room_alias is asked."""

    user_id: str = ""
    room_alias: str = ""


@dataclass
class UserMayCreateRoomAliasResponse:
    """What user_may_create_room_alias may answer. Empty is no opinion."""

    refusal: Refusal | None = None


@dataclass
class UserMayPublishRoomRequest:
    """What user_may_publish_room is asked."""

    user_id: str = ""
    room_id: str = ""


@dataclass
class UserMayPublishRoomResponse:
    """What user_may_publish_room may answer. Empty is no opinion."""

    refusal: Refusal | None = None


@dataclass
class CheckUsernameForSpamRequest:
    """What check_username_for_spam is asked."""

    user_profile: UserProfile | None = None
    requester_id: str = ""


@dataclass
class CheckUsernameForSpamResponse:
    """What check_username_for_spam may answer. Empty is no opinion."""

    refusal: Refusal | None = None


@dataclass
class CheckRegistrationForSpamRequest:
    """What check_registration_for_spam is asked."""

    email_threepid: Threepid | None = None
    username: str | None = None
    request_info: list[RequestInfo] = field(default_factory=list)
    auth_provider_id: str | None = None


@dataclass
class CheckRegistrationForSpamResponse:
    """What check_registration_for_spam may answer. Empty is no opinion."""

    refusal: Refusal | None = None
    shadow_ban: bool = False


@dataclass
class CheckMediaFileForSpamRequest:
    """What check_media_file_for_spam is asked."""

    file_info: FileInfo | None = None
    file_wrapper: FileWrapper | None = None


@dataclass
class CheckMediaFileForSpamResponse:
    """What check_media_file_for_spam may answer. Empty is no opinion."""

    refusal: Refusal | None = None


@dataclass
class ShouldDropFederatedEventRequest:
    """What should_drop_federated_event is asked."""

    event: Event | None = None


@dataclass
class ShouldDropFederatedEventResponse:
    """What should_drop_federated_event may answer. Empty is no opinion."""

    refusal: Refusal | None = None


@dataclass
class UserMayJoinRoomRequest:
    """What user_may_join_room is asked."""

    user: str = ""
    room: str = ""
    is_invited: bool = False


@dataclass
class UserMayJoinRoomResponse:
    """What user_may_join_room may answer. Empty is no opinion."""

    refusal: Refusal | None = None


@dataclass
class FederatedUserMayInviteRequest:
    """What federated_user_may_invite is asked."""

    event: Event | None = None


@dataclass
class FederatedUserMayInviteResponse:
    """What federated_user_may_invite may answer. Empty is no opinion."""

    refusal: Refusal | None = None


@dataclass
class UserMaySend3pidInviteRequest:
    """What user_may_send_3pid_invite is asked."""

    inviter: str = ""
    medium: str = ""
    address: str = ""
    room_id: str = ""


@dataclass
class UserMaySend3pidInviteResponse:
    """What user_may_send_3pid_invite may answer. Empty is no opinion."""

    refusal: Refusal | None = None


@dataclass
class UserMaySendStateEventRequest:
    """What user_may_send_state_event is asked."""

    user_id: str = ""
    room_id: str = ""
    event_type: str = ""
    state_key: str = ""
    content: dict[str, Any] | None = None


@dataclass
class UserMaySendStateEventResponse:
    """What user_may_send_state_event may answer. Empty is no opinion."""

    refusal: Refusal | None = None


@dataclass
class CheckLoginForSpamRequest:
    """What check_login_for_spam is asked."""

    user_id: str = ""
    device_id: str | None = None
    initial_display_name: str | None = None
    request_info: list[RequestInfo] = field(default_factory=list)
    auth_provider_id: str | None = None


@dataclass
class CheckLoginForSpamResponse:
    """What check_login_for_spam may answer. Empty is no opinion."""

    refusal: Refusal | None = None


@dataclass
class CheckEventAllowedRequest:
    """What check_event_allowed is asked."""

    event: Event | None = None
    state_events: list[StateEvent] = field(default_factory=list)


@dataclass
class CheckEventAllowedResponse:
    """What check_event_allowed may answer. Empty is no opinion."""

    refusal: Refusal | None = None
    replacement: dict[str, Any] | None = None


@dataclass
class OnCreateRoomRequest:
    """What on_create_room is asked."""

    requester: Requester | None = None
    request_content: dict[str, Any] | None = None
    is_requester_admin: bool = False


@dataclass
class OnCreateRoomResponse:
    """What on_create_room may answer. Empty is no opinion."""

    refusal: Refusal | None = None
    request_content: dict[str, Any] | None = None


@dataclass
class CheckThreepidCanBeInvitedRequest:
    """What check_threepid_can_be_invited is asked."""

    medium: str = ""
    address: str = ""
    state_events: list[StateEvent] = field(default_factory=list)


@dataclass
class CheckThreepidCanBeInvitedResponse:
    """What check_threepid_can_be_invited may answer. Empty is no opinion."""

    refusal: Refusal | None = None


@dataclass
class CheckVisibilityCanBeModifiedRequest:
    """What check_visibility_can_be_modified is asked."""

    room_id: str = ""
    state_events: list[StateEvent] = field(default_factory=list)
    new_visibility: str = ""


@dataclass
class CheckVisibilityCanBeModifiedResponse:
    """What check_visibility_can_be_modified may answer. Empty is no opinion."""

    refusal: Refusal | None = None


@dataclass
class OnNewEventRequest:
    """What on_new_event is asked."""

    event: Event | None = None
    state_events: list[StateEvent] = field(default_factory=list)


@dataclass
class OnNewEventResponse:
    """What on_new_event may answer. Empty is no opinion."""


@dataclass
class CheckCanShutdownRoomRequest:
    """What check_can_shutdown_room is asked."""

    user_id: str | None = None
    room_id: str = ""


@dataclass
class CheckCanShutdownRoomResponse:
    """What check_can_shutdown_room may answer. Empty is no opinion."""

    refusal: Refusal | None = None


@dataclass
class CheckCanDeactivateUserRequest:
    """What check_can_deactivate_user is asked."""

    user_id: str = ""
    by_admin: bool = False


@dataclass
class CheckCanDeactivateUserResponse:
    """What check_can_deactivate_user may answer. Empty is no opinion."""

    refusal: Refusal | None = None


@dataclass
class OnProfileUpdateRequest:
    """What on_profile_update is asked."""

    user_id: str = ""
    new_profile: ProfileInfo | None = None
    by_admin: bool = False
    deactivation: bool = False


@dataclass
class OnProfileUpdateResponse:
    """What on_profile_update may answer. Empty is no opinion."""


@dataclass
class OnUserDeactivationStatusChangedRequest:
    """What on_user_deactivation_status_changed is asked."""

    user_id: str = ""
    deactivated: bool = False
    by_admin: bool = False


@dataclass
class OnUserDeactivationStatusChangedResponse:
    """What on_user_deactivation_status_changed may answer. Empty is no opinion."""


@dataclass
class OnThreepidBindRequest:
    """What on_threepid_bind is asked."""

    user_id: str = ""
    medium: str = ""
    address: str = ""


@dataclass
class OnThreepidBindResponse:
    """What on_threepid_bind may answer. Empty is no opinion."""


@dataclass
class OnAddUserThirdPartyIdentifierRequest:
    """What on_add_user_third_party_identifier is asked."""

    user_id: str = ""
    medium: str = ""
    address: str = ""


@dataclass
class OnAddUserThirdPartyIdentifierResponse:
    """What on_add_user_third_party_identifier may answer. Empty is no opinion."""


@dataclass
class OnRemoveUserThirdPartyIdentifierRequest:
    """What on_remove_user_third_party_identifier is asked."""

    user_id: str = ""
    medium: str = ""
    address: str = ""


@dataclass
class OnRemoveUserThirdPartyIdentifierResponse:
    """What on_remove_user_third_party_identifier may answer. Empty is no opinion."""


@dataclass
class PropertiesRequest:
    """See docs/module-api.md."""


@dataclass
class PropertiesResponse:
    """See docs/module-api.md."""

    server_name: str = ""
    public_baseurl: str | None = None
    email_app_name: str | None = None
    worker_name: str | None = None
    worker_app: str | None = None


@dataclass
class GetUserinfoByIdRequest:
    """See docs/module-api.md."""

    user_id: str = ""


@dataclass
class GetUserinfoByIdResponse:
    """See docs/module-api.md."""

    userinfo: UserInfo | None = None


@dataclass
class GetUserByReqRequest:
    """See docs/module-api.md."""

    access_token: str = ""
    allow_guest: bool = False
    allow_expired: bool = False
    ip: str | None = None
    user_agent: str | None = None


@dataclass
class GetUserByReqResponse:
    """See docs/module-api.md."""

    requester: Requester | None = None


@dataclass
class IsUserAdminRequest:
    """See docs/module-api.md."""

    user_id: str = ""


@dataclass
class IsUserAdminResponse:
    """See docs/module-api.md."""

    is_admin: bool = False


@dataclass
class SetUserAdminRequest:
    """See docs/module-api.md."""

    user_id: str = ""
    admin: bool = False


@dataclass
class SetUserAdminResponse:
    """See docs/module-api.md."""


@dataclass
class GetProfileForUserRequest:
    """See docs/module-api.md."""

    localpart: str = ""


@dataclass
class GetProfileForUserResponse:
    """See docs/module-api.md."""

    profile: ProfileInfo | None = None


@dataclass
class GetThreepidsForUserRequest:
    """See docs/module-api.md."""

    user_id: str = ""


@dataclass
class GetThreepidsForUserResponse:
    """See docs/module-api.md."""

    threepids: list[Threepid] = field(default_factory=list)


@dataclass
class CheckUserExistsRequest:
    """See docs/module-api.md."""

    user_id: str = ""


@dataclass
class CheckUserExistsResponse:
    """See docs/module-api.md."""

    user_id: str | None = None


@dataclass
class CheckUsernameRequest:
    """See docs/module-api.md."""

    username: str = ""


@dataclass
class CheckUsernameResponse:
    """See docs/module-api.md."""


@dataclass
class RegisterUserRequest:
    """See docs/module-api.md."""

    localpart: str = ""
    displayname: str | None = None
    emails: list[str] = field(default_factory=list)
    admin: bool = False


@dataclass
class RegisterUserResponse:
    """See docs/module-api.md."""

    user_id: str = ""


@dataclass
class RegisterDeviceRequest:
    """See docs/module-api.md."""

    user_id: str = ""
    device_id: str | None = None
    initial_display_name: str | None = None


@dataclass
class RegisterDeviceResponse:
    """See docs/module-api.md."""

    device_id: str = ""
    access_token: str = ""
    valid_until_ms: int | None = None
    refresh_token: str | None = None


@dataclass
class RecordUserExternalIdRequest:
    """See docs/module-api.md."""

    auth_provider_id: str = ""
    remote_user_id: str = ""
    registered_user_id: str = ""


@dataclass
class RecordUserExternalIdResponse:
    """See docs/module-api.md."""


@dataclass
class CreateLoginTokenRequest:
    """See docs/module-api.md."""

    user_id: str = ""
    duration_in_ms: int | None = None
    auth_provider_id: str | None = None
    auth_provider_session_id: str | None = None


@dataclass
class CreateLoginTokenResponse:
    """See docs/module-api.md."""

    token: str = ""


@dataclass
class InvalidateAccessTokenRequest:
    """See docs/module-api.md."""

    access_token: str = ""


@dataclass
class InvalidateAccessTokenResponse:
    """See docs/module-api.md."""


@dataclass
class CompleteSsoLoginAsyncRequest:
    """See docs/module-api.md."""

    registered_user_id: str = ""
    client_redirect_url: str = ""
    new_user: bool = False
    auth_provider_id: str | None = None
    ip: str | None = None
    user_agent: str | None = None


@dataclass
class CompleteSsoLoginAsyncResponse:
    """See docs/module-api.md."""

    status: int = 0
    headers: list[HttpHeader] = field(default_factory=list)
    body: bytes = b""


@dataclass
class SetDisplaynameRequest:
    """See docs/module-api.md."""

    user_id: str = ""
    new_displayname: str = ""


@dataclass
class SetDisplaynameResponse:
    """See docs/module-api.md."""


@dataclass
class GetUserIpAndAgentsRequest:
    """See docs/module-api.md."""

    user_id: str = ""
    since_ts: int = 0


@dataclass
class GetUserIpAndAgentsResponse:
    """See docs/module-api.md."""

    ip_and_agents: list[UserIpAndAgent] = field(default_factory=list)


@dataclass
class GetMonthlyActiveUsersByServiceRequest:
    """See docs/module-api.md."""

    start_timestamp: int | None = None
    end_timestamp: int | None = None


@dataclass
class GetMonthlyActiveUsersByServiceResponse:
    """See docs/module-api.md."""

    users: list[ActiveUser] = field(default_factory=list)


@dataclass
class StoreRemote3pidAssociationRequest:
    """See docs/module-api.md."""

    user_id: str = ""
    medium: str = ""
    address: str = ""
    id_server: str = ""


@dataclass
class StoreRemote3pidAssociationResponse:
    """See docs/module-api.md."""


@dataclass
class GetRoomStateRequest:
    """See docs/module-api.md."""

    room_id: str = ""
    event_filter: list[StateEventType] = field(default_factory=list)


@dataclass
class GetRoomStateResponse:
    """See docs/module-api.md."""

    state: list[StateEvent] = field(default_factory=list)


@dataclass
class GetStateEventsInRoomRequest:
    """See docs/module-api.md."""

    room_id: str = ""
    types: list[StateEventType] = field(default_factory=list)


@dataclass
class GetStateEventsInRoomResponse:
    """See docs/module-api.md."""

    state: list[StateEvent] = field(default_factory=list)


@dataclass
class CreateAndSendEventIntoRoomRequest:
    """See docs/module-api.md."""

    event_dict: dict[str, Any] | None = None


@dataclass
class CreateAndSendEventIntoRoomResponse:
    """See docs/module-api.md."""

    event: Event | None = None


@dataclass
class UpdateRoomMembershipRequest:
    """See docs/module-api.md."""

    sender: str = ""
    target: str = ""
    room_id: str = ""
    new_membership: str = ""
    content: dict[str, Any] | None = None
    remote_room_hosts: list[str] = field(default_factory=list)


@dataclass
class UpdateRoomMembershipResponse:
    """See docs/module-api.md."""

    event: Event | None = None


@dataclass
class CreateRoomRequest:
    """See docs/module-api.md."""

    user_id: str = ""
    config: dict[str, Any] | None = None
    ratelimit: bool | None = None
    creator_join_profile: dict[str, Any] | None = None


@dataclass
class CreateRoomResponse:
    """See docs/module-api.md."""

    room_id: str = ""
    room_alias: str | None = None


@dataclass
class DeleteRoomRequest:
    """See docs/module-api.md."""

    room_id: str = ""


@dataclass
class DeleteRoomResponse:
    """See docs/module-api.md."""


@dataclass
class LookupRoomAliasRequest:
    """See docs/module-api.md."""

    room_alias: str = ""


@dataclass
class LookupRoomAliasResponse:
    """See docs/module-api.md."""

    room_id: str = ""
    servers: list[str] = field(default_factory=list)


@dataclass
class GetCanonicalRoomAliasRequest:
    """See docs/module-api.md."""

    room_id: str = ""


@dataclass
class GetCanonicalRoomAliasResponse:
    """See docs/module-api.md."""

    room_alias: str | None = None


@dataclass
class RoomIsInPublicRoomListRequest:
    """See docs/module-api.md."""

    room_id: str = ""


@dataclass
class RoomIsInPublicRoomListResponse:
    """See docs/module-api.md."""

    is_public: bool = False


@dataclass
class AddRoomToPublicRoomListRequest:
    """See docs/module-api.md."""

    room_id: str = ""


@dataclass
class AddRoomToPublicRoomListResponse:
    """See docs/module-api.md."""


@dataclass
class RemoveRoomFromPublicRoomListRequest:
    """See docs/module-api.md."""

    room_id: str = ""


@dataclass
class RemoveRoomFromPublicRoomListResponse:
    """See docs/module-api.md."""


@dataclass
class SendLocalOnlinePresenceToRequest:
    """See docs/module-api.md."""

    users: list[str] = field(default_factory=list)


@dataclass
class SendLocalOnlinePresenceToResponse:
    """See docs/module-api.md."""


@dataclass
class SetPresenceForUsersRequest:
    """See docs/module-api.md."""

    users: dict[str, PresenceUpdate] = field(default_factory=dict)


@dataclass
class SetPresenceForUsersResponse:
    """See docs/module-api.md."""


@dataclass
class SendHttpPushNotificationRequest:
    """See docs/module-api.md."""

    user_id: str = ""
    device_id: str | None = None
    content: dict[str, Any] | None = None
    tweaks: dict[str, Any] | None = None
    default_payload: dict[str, Any] | None = None


@dataclass
class SendHttpPushNotificationResponse:
    """See docs/module-api.md."""

    sent: dict[str, bool] = field(default_factory=dict)


@dataclass
class SetPushRuleActionRequest:
    """See docs/module-api.md."""

    user_id: str = ""
    scope: str = ""
    kind: str = ""
    rule_id: str = ""
    actions: list[str] = field(default_factory=list)


@dataclass
class SetPushRuleActionResponse:
    """See docs/module-api.md."""


@dataclass
class SendMailRequest:
    """See docs/module-api.md."""

    recipient: str = ""
    subject: str = ""
    html: str = ""
    text: str = ""


@dataclass
class SendMailResponse:
    """See docs/module-api.md."""


@dataclass
class SendFederationHttpRequestRequest:
    """See docs/module-api.md."""

    method: str = ""
    remote_server_name: str = ""
    path: str = ""
    query_parameters: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] | None = None
    timeout: int | None = None


@dataclass
class SendFederationHttpRequestResponse:
    """See docs/module-api.md."""

    body: dict[str, Any] | None = None


@dataclass
class GetGlobalRequest:
    """See docs/module-api.md."""

    user_id: str = ""
    data_type: str = ""


@dataclass
class GetGlobalResponse:
    """See docs/module-api.md."""

    data: dict[str, Any] | None = None


@dataclass
class PutGlobalRequest:
    """See docs/module-api.md."""

    user_id: str = ""
    data_type: str = ""
    new_data: dict[str, Any] | None = None


@dataclass
class PutGlobalResponse:
    """See docs/module-api.md."""

